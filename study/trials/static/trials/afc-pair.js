"use strict";

/**
 * jsPsych plugin: two images side by side, "which one was altered?" (two-alternative forced choice).
 *
 * Every image pixel covers exactly k × k device pixels: the canvas's backing store is image size × k, its CSS size is
 * that ÷ devicePixelRatio, smoothing is off, and its corner is moved onto a whole device pixel. Both images are
 * revealed in one animation frame; the onset is the timestamp of the next one, when they are on the screen. The
 * response time is the press's own event timestamp minus the onset. Keys, buttons and the images themselves answer.
 */
const AfcPairPlugin = (({ ParameterType }) => {
  const KEYS = { ArrowLeft: "left", ArrowRight: "right" };
  const SIDES = ["left", "right"];
  const DROPPED = 1.5; // × the median frame

  const info = {
    name: "afc-pair",
    version: "1.0.0",
    parameters: {
      /** () => {left, right}: the two decoded images (ImageBitmap or canvas), both of one size. */
      images: { type: ParameterType.FUNCTION, default: undefined },
      /** Device pixels per image pixel; a screen too narrow gets the largest whole number that fits. */
      scale: { type: ParameterType.INT, default: 4 },
      /** How long the fixation cross is shown before the images, ms. */
      fixation_ms: { type: ParameterType.INT, default: 500 },
      /** How long the empty screen lasts after the answer, ms. */
      blank_ms: { type: ParameterType.INT, default: 400 },
      /** Presses earlier than this after the onset do not count, ms. */
      enable_after_ms: { type: ParameterType.INT, default: 250 },
      /** The question above the images. */
      prompt: { type: ParameterType.STRING, default: "" },
      /** What the left and right button, and the two images, are called. */
      labels: { type: ParameterType.OBJECT, default: { left: "Left", right: "Right", left_image: "", right_image: "" } },
      /** async (data) => null or {correct, altered_side, text, button}: keeps the answer; the trial waits for it. */
      on_answer: { type: ParameterType.FUNCTION, default: async () => null },
    },
    data: {
      /** The side chosen as altered: "left" or "right". */
      choice: { type: ParameterType.STRING },
      /** From the onset to the press, ms, to the resolution of event timestamps. */
      rt_ms: { type: ParameterType.FLOAT },
      /** Median frame interval of this trial, ms. */
      frame_ms: { type: ParameterType.FLOAT },
      /** Frames missed between onset and answer: intervals longer than 1.5 medians, each counted once. */
      dropped_frames: { type: ParameterType.INT },
      /** How often the page was hidden or lost the keyboard while the images were shown. */
      focus_losses: { type: ParameterType.INT },
      /** window.devicePixelRatio at the answer. */
      device_pixel_ratio: { type: ParameterType.FLOAT },
      /** visualViewport.scale at the answer: pinch zoom. */
      viewport_scale: { type: ParameterType.FLOAT },
      /** Device pixels per image pixel, as drawn. */
      scale: { type: ParameterType.INT },
      /** What answered: "key", "mouse", "touch", "pen" or "click" (a button worked by the keyboard). */
      input: { type: ParameterType.STRING },
      /** event.isTrusted of the answer. */
      trusted: { type: ParameterType.BOOL },
      /** Frames counted between onset and answer. */
      frames: { type: ParameterType.INT },
      /** Presses before answers were enabled. */
      early_presses: { type: ParameterType.INT },
      /** How often the images had to be drawn anew because the window or the pixel ratio changed. */
      redraws: { type: ParameterType.INT },
      /** Width x height of the window, CSS px. */
      window: { type: ParameterType.STRING },
      /** Width x height of the screen, CSS px. */
      screen: { type: ParameterType.STRING },
      /** The widest colour gamut the screen claims: "srgb", "p3", "rec2020" or "unknown". */
      gamut: { type: ParameterType.STRING },
    },
  };

  const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  /** The two canvases and what lies around them. */
  class Stage {
    constructor(display, trial) {
      this.images = trial.images();
      this.wanted = trial.scale;
      this.redraws = -1;
      this.canvases = {};
      this.buttons = {};
      this.fixation = element("span", { class: "afc-fixation", "aria-hidden": "true" });
      this.note = element("div", { class: "afc-note" });
      const pair = element("div", { class: "afc-images" });
      const answers = element("div", { class: "afc-answers" });
      for (const side of SIDES) {
        const label = trial.labels[side];
        this.canvases[side] = element("canvas", { role: "img", "aria-label": trial.labels[`${side}_image`] || label });
        this.buttons[side] = element("button", { type: "button", class: "afc-answer" }, label);
        pair.append(this.canvases[side]);
        answers.append(this.buttons[side]);
      }
      pair.append(this.fixation);
      this.pair = pair;
      this.root = element(
        "div",
        { class: "afc-stage", "data-state": "fixation" },
        element("h1", { class: "afc-prompt" }, trial.prompt),
        pair,
        answers,
        this.note,
      );
      display.replaceChildren(this.root);
      this.draw();
    }

    set state(name) {
      this.root.dataset.state = name;
    }

    get connected() {
      return this.root.isConnected;
    }

    /** The largest whole number of device pixels per image pixel, at most the wanted one, at which both images fit. */
    fittingScale(ratio) {
      const { width, height } = this.images.left;
      const style = getComputedStyle(this.pair);
      const room = (this.pair.clientWidth - parseFloat(style.columnGap)) * ratio;
      const tall = window.innerHeight * 0.6 * ratio;
      return Math.max(1, Math.min(this.wanted, Math.floor(room / (2 * width)), Math.floor(tall / height)));
    }

    draw() {
      const ratio = window.devicePixelRatio;
      const scale = this.fittingScale(ratio);
      for (const side of SIDES) {
        const canvas = this.canvases[side];
        const image = this.images[side];
        canvas.width = image.width * scale;
        canvas.height = image.height * scale;
        canvas.style.width = `${canvas.width / ratio}px`;
        canvas.style.height = `${canvas.height / ratio}px`;
        const context = canvas.getContext("2d", { alpha: false, colorSpace: "srgb" });
        context.imageSmoothingEnabled = false;
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
      }
      this.drawn = { scale, ratio };
      this.redraws += 1;
      this.snap();
    }

    /** Moves each canvas by less than a device pixel, so that its corner lies on a whole one. */
    snap() {
      const { ratio } = this.drawn;
      for (const canvas of Object.values(this.canvases)) {
        canvas.style.left = canvas.style.top = "0px";
        const { left, top } = canvas.getBoundingClientRect();
        canvas.style.left = `${(Math.round(left * ratio) - left * ratio) / ratio}px`;
        canvas.style.top = `${(Math.round(top * ratio) - top * ratio) / ratio}px`;
      }
    }

    /** After the window changed: the same pixels again, at the ratio and place that now hold. */
    refit() {
      const ratio = window.devicePixelRatio;
      if (ratio !== this.drawn.ratio || this.fittingScale(ratio) !== this.drawn.scale) this.draw();
      else this.snap();
    }
  }

  /** Frame intervals of one trial; those after `mark()` are the ones in which frames can be missed. */
  class FrameClock {
    constructor(alive) {
      this.alive = alive;
      this.intervals = [];
      this.marked = 0;
      this.last = null;
      this.stopped = false;
      requestAnimationFrame((now) => this.tick(now));
    }

    tick(now) {
      if (this.stopped || !this.alive()) return;
      if (this.last !== null) this.intervals.push(now - this.last);
      this.last = now;
      requestAnimationFrame((later) => this.tick(later));
    }

    mark() {
      this.marked = this.intervals.length;
    }

    /** A hidden page gets no frames: the gap is a loss of focus, not a dropped frame. */
    skip() {
      this.last = null;
    }

    stop() {
      this.stopped = true;
      const frame = this.intervals.length ? median(this.intervals) : null;
      const shown = this.intervals.slice(this.marked);
      return {
        frame_ms: frame,
        frames: shown.length,
        dropped_frames: shown.filter((interval) => interval > DROPPED * frame).length,
      };
    }
  }

  class AfcPairPlugin {
    static info = info;

    constructor(jsPsych) {
      this.jsPsych = jsPsych;
    }

    async trial(display, trial, onLoad) {
      const stage = new Stage(display, trial);
      const clock = new FrameClock(() => stage.connected);
      const listeners = new AbortController();
      onLoad?.();
      const watched = this.watch(stage, clock, listeners.signal);
      await delay(trial.fixation_ms);

      await nextFrame();
      stage.state = "shown";
      const onset = await nextFrame();
      clock.mark();
      const press = await this.answer(stage, trial, onset, listeners.signal);
      const data = {
        choice: press.side,
        rt_ms: Math.round((press.time - onset) * 1000) / 1000,
        ...clock.stop(),
        focus_losses: watched.losses,
        device_pixel_ratio: window.devicePixelRatio,
        viewport_scale: window.visualViewport?.scale ?? 1,
        scale: stage.drawn.scale,
        input: press.input,
        trusted: press.trusted,
        early_presses: press.early,
        redraws: stage.redraws,
        window: `${window.innerWidth}x${window.innerHeight}`,
        screen: `${window.screen.width}x${window.screen.height}`,
        gamut: ["rec2020", "p3", "srgb"].find((name) => matchMedia(`(color-gamut: ${name})`).matches) ?? "unknown",
      };
      stage.state = "answered";
      const [feedback] = await Promise.all([trial.on_answer(data), delay(trial.blank_ms)]);
      if (feedback) await this.explain(stage, feedback);
      listeners.abort();
      return data;
    }

    /** Counts losses of focus while the images are shown, and keeps them whole when the window changes. */
    watch(stage, clock, signal) {
      const watched = { losses: 0 };
      const lose = () => {
        if (stage.root.dataset.state === "shown") watched.losses += 1;
      };
      const hidden = () => {
        clock.skip();
        if (document.hidden) lose();
      };
      document.addEventListener("visibilitychange", hidden, { signal });
      window.addEventListener("blur", () => !document.hidden && lose(), { signal });
      const inDialog = (node) => node?.closest?.("dialog");
      document.addEventListener(
        "focusin",
        ({ target, relatedTarget }) => inDialog(target) && !inDialog(relatedTarget) && lose(),
        { signal },
      );
      const refit = () => stage.connected && stage.refit();
      window.addEventListener("resize", refit, { signal });
      window.addEventListener("scroll", refit, { signal, passive: true });
      const observer = new ResizeObserver(refit);
      observer.observe(stage.root);
      signal.addEventListener("abort", () => observer.disconnect());
      return watched;
    }

    /** The first press that counts: {side, time, input, trusted, early}. */
    answer(stage, trial, onset, signal) {
      return new Promise((resolve) => {
        let early = 0;
        const down = {}; // where and when a pointer went down: the press is the answer, not its release
        const press = (side, time, input, event) => {
          if (!stage.connected || stage.root.dataset.state !== "shown") return;
          if (time - onset < trial.enable_after_ms) early += 1;
          else resolve({ side, time, input, trusted: event.isTrusted, early });
        };
        const key = (event) => {
          const side = KEYS[event.key];
          if (!side || !stage.connected || event.altKey || event.ctrlKey || event.metaKey) return;
          if (event.target.closest?.("dialog")) return;
          event.preventDefault(); // arrows would scroll the page
          if (!event.repeat) press(side, event.timeStamp, "key", event);
        };
        // capture: heard wherever the focus is
        document.addEventListener("keydown", key, { signal, capture: true });
        for (const side of SIDES) {
          for (const target of [stage.canvases[side], stage.buttons[side]]) {
            target.addEventListener("pointerdown", (event) => (down[side] = event), { signal });
            target.addEventListener(
              "click",
              (event) => {
                const start = event.detail > 0 && down[side] ? down[side] : event;
                press(side, start.timeStamp, start.pointerType || "click", event);
              },
              { signal },
            );
          }
        }
      });
    }

    /** Shows the images once more with the altered one framed, until the participant goes on. */
    explain(stage, { correct, altered_side, text, button }) {
      stage.canvases[altered_side].classList.add("is-altered");
      const go = element("button", { type: "button", class: "button-main" }, button);
      stage.note.replaceChildren(element("p", { role: "status", class: correct ? "is-right" : "is-wrong" }, text), go);
      stage.state = "explained";
      stage.snap();
      go.focus();
      return once(go, "click");
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

    /** Answers by the arrow key at the drawn response time, and goes on from feedback. */
    simulateVisual(trial, data, onLoad) {
      const display = this.jsPsych.getDisplayElement();
      const result = this.trial(display, trial, onLoad);
      const stage = display.querySelector(".afc-stage");
      const wait = Math.max(data.rt_ms, trial.enable_after_ms) + 50;
      const key = data.choice === "left" ? "ArrowLeft" : "ArrowRight";
      const observer = new MutationObserver(() => {
        if (stage.dataset.state === "shown") this.jsPsych.pluginAPI.pressKey(key, wait);
        if (stage.dataset.state === "explained") stage.querySelector(".button-main").click();
      });
      observer.observe(stage, { attributes: true, attributeFilter: ["data-state"] });
      return result.finally(() => observer.disconnect());
    }
  }

  function once(target, type) {
    return new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));
  }

  return AfcPairPlugin;
})(jsPsychModule);
