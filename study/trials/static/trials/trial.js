"use strict";

/**
 * jsPsych plugin: one question about a pair of pictures, in any of the five protocols.
 *
 * Pictures, masks and blanks come and go in animation frames. An onset or offset is the timestamp of the frame after
 * the change, when it is on the screen; the response time is the press's own event timestamp minus the onset. Keys,
 * buttons and the pictures themselves answer. When the window or the pixel ratio no longer suits the pictures they are
 * hidden, and the trial begins anew once it does.
 */
const TrialPlugin = (({ ParameterType }) => {
  const SIDES = ["left", "right"];

  const info = {
    name: "trial",
    version: "2.0.0",
    parameters: {
      /** "afc", "ifc", "flicker", "oddity" or "yes_no". */
      protocol: { type: ParameterType.STRING, default: "afc" },
      /** () => {left: [...], right: [...]}: the decoded pictures (ImageBitmap or canvas), all of one size. */
      images: { type: ParameterType.FUNCTION, default: undefined },
      /** Device pixels per picture pixel. */
      scale: { type: ParameterType.INT, default: 4 },
      /** window.devicePixelRatio when the screen was checked; null: the one at the trial's beginning. */
      ratio: { type: ParameterType.FLOAT, default: null },
      /** Whether "not sure" is offered. */
      not_sure: { type: ParameterType.BOOL, default: false },
      /**
       * ms: fixation_ms, exposure_ms (null: until the answer), mask_ms, gap_ms (between intervals), flicker_ms (of each
       * picture), response_ms (null: any time), blank_ms (after the answer), enable_after_ms (earlier presses do not
       * count).
       */
      timing: {
        type: ParameterType.OBJECT,
        default: {
          fixation_ms: 500,
          exposure_ms: null,
          mask_ms: 0,
          gap_ms: 500,
          flicker_ms: 500,
          response_ms: null,
          blank_ms: 400,
          enable_after_ms: 250,
        },
      },
      /** The question above the pictures. */
      prompt: { type: ParameterType.STRING, default: "" },
      /** What the buttons are called, and the places of each side; a place of no side is called left_image. */
      labels: {
        type: ParameterType.OBJECT,
        default: { left: "Left", right: "Right", unsure: "Not sure", left_image: "", right_image: "" },
      },
      /** async (data) => null or {correct, altered_side, text, button}: keeps the answer; the trial waits for it. */
      on_answer: { type: ParameterType.FUNCTION, default: async () => null },
    },
    data: {
      /** "left", "right", "unsure", or "none" when the response window passed. */
      choice: { type: ParameterType.STRING },
      /** From the onset to the press (or to the end of the window), ms, to the resolution of event timestamps. */
      rt_ms: { type: ParameterType.FLOAT },
      /** When the pictures were on the screen, ms on the page's clock; in two intervals, those of the second. */
      onset_ms: { type: ParameterType.FLOAT },
      /** When they were gone from the screen. */
      offset_ms: { type: ParameterType.FLOAT },
      /** The same of the first interval; only where there are two. */
      first_onset_ms: { type: ParameterType.FLOAT },
      first_offset_ms: { type: ParameterType.FLOAT },
      /** Median frame interval of this trial, ms. */
      frame_ms: { type: ParameterType.FLOAT },
      /** Frames counted between the first onset and the end. */
      frames: { type: ParameterType.INT },
      /** Those missed among them: intervals longer than 1.5 medians, each counted once. */
      dropped_frames: { type: ParameterType.INT },
      /** How often the page was hidden or lost the keyboard between the first onset and the answer, or was so at the onset. */
      focus_losses: { type: ParameterType.INT },
      /** window.devicePixelRatio at the answer. */
      device_pixel_ratio: { type: ParameterType.FLOAT },
      /** visualViewport.scale at the answer: pinch zoom. */
      viewport_scale: { type: ParameterType.FLOAT },
      /** Device pixels per picture pixel, as drawn. */
      scale: { type: ParameterType.INT },
      /** How often the trial was begun anew because the window or the ratio had changed. */
      pauses: { type: ParameterType.INT },
      /** What answered: "key", "mouse", "touch", "pen", "click" (a button worked by the keyboard) or "none". */
      input: { type: ParameterType.STRING },
      /** event.isTrusted of the answer. */
      trusted: { type: ParameterType.BOOL },
      /** Presses between the first onset and the moment from which answers counted. */
      early_presses: { type: ParameterType.INT },
      /** Width x height of the window, CSS px. */
      window: { type: ParameterType.STRING },
      /** Width x height of the screen, CSS px. */
      screen: { type: ParameterType.STRING },
      /** The widest colour gamut the screen claims: "srgb", "p3", "rec2020" or "unknown". */
      gamut: { type: ParameterType.STRING },
    },
  };

  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  class TrialPlugin {
    static info = info;

    constructor(jsPsych) {
      this.jsPsych = jsPsych;
    }

    async trial(display, trial, onLoad) {
      const stage = new Stage(display, trial);
      const clock = new FrameClock(stage.signal);
      onLoad?.();
      const presentation = await this.present(stage, clock, trial);
      const data = presentation.result;
      const [feedback] = await Promise.all([trial.on_answer(data), delay(trial.timing.blank_ms)]);
      presentation.end();
      if (feedback) await this.explain(stage, clock, trial, feedback);
      stage.close();
      return data;
    }

    /** Presents the trial as often as it takes until it was not disturbed; counts the pauses. */
    async present(stage, clock, trial) {
      for (let pauses = 0; ; pauses += 1) {
        const presentation = new Presentation(stage, clock, trial, pauses);
        if (await presentation.run()) return presentation;
        presentation.end();
        await stage.pause();
      }
    }

    /** Shows the pictures once more, says which was altered, and waits for the participant to go on. */
    async explain(stage, clock, { protocol, timing }, feedback) {
      let gone = false;
      stage.explain(feedback).addEventListener("click", () => (gone = true), { once: true });
      for (const step of Protocols.again(Protocols[protocol], timing)) {
        if (gone) return;
        stage.show(step);
        await clock.pass(await clock.next(), step, () => gone);
      }
    }

    simulate(trial, mode, options, onLoad) {
      const data = this.jsPsych.pluginAPI.mergeSimulationData(
        {
          choice: this.jsPsych.randomization.sampleWithoutReplacement(SIDES, 1)[0],
          rt_ms: this.jsPsych.randomization.sampleExGaussian(700, 150, 1 / 200, true),
        },
        options,
      );
      if (mode === "data-only") {
        onLoad?.();
        return Promise.resolve(trial.on_answer(data)).then(() => data);
      }
      return this.simulateVisual(trial, data, onLoad);
    }

    /** Answers by a key at the drawn response time ("none": not at all), and goes on from feedback. */
    simulateVisual(trial, data, onLoad) {
      const display = this.jsPsych.getDisplayElement();
      const result = this.trial(display, trial, onLoad);
      const stage = display.querySelector(".afc-stage");
      const { keys } = Protocols[trial.protocol];
      const key = Object.keys(keys).find((name) => keys[name] === data.choice);
      const { exposure_ms, enable_after_ms } = trial.timing;
      const moment = exposure_ms === null ? "shown" : "asked";
      const observer = new MutationObserver(([{ oldValue }]) => {
        const { state } = stage.dataset;
        if (state === oldValue) return; // the next picture of a flicker
        if (state === moment && key) this.jsPsych.pluginAPI.pressKey(key, Math.max(data.rt_ms, enable_after_ms) + 50);
        if (state === "explained") stage.querySelector(".button-main").click();
      });
      observer.observe(stage, { attributes: true, attributeFilter: ["data-state"], attributeOldValue: true });
      return result.finally(() => observer.disconnect());
    }
  }

  return TrialPlugin;
})(jsPsychModule);
