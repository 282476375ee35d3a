"use strict";

/** From the fixation to the answer, once: what is shown, what is pressed, and when. */
const Presentation = (() => {
  const rounded = (ms) => Math.round(ms * 1000) / 1000;

  class Presentation {
    /** Listens from now on; the pictures come with `run`. `pauses`: how often it has been tried before. */
    constructor(stage, clock, { protocol, timing }, pauses) {
      this.stage = stage;
      this.clock = clock;
      this.protocol = Protocols[protocol];
      this.timing = timing;
      this.pauses = pauses;
      this.exposures = []; // {onset, offset}: the pictures' times on the screen
      this.opens = Infinity; // from when on presses count
      this.press = null;
      this.early = 0;
      this.losses = 0;
      this.disturbed = stage.problem() !== null;
      this.listeners = new AbortController();
      this.listen(this.listeners.signal);
      this.watch(this.listeners.signal);
      stage.signal.addEventListener("abort", () => this.end(), { once: true });
    }

    /** Whether it ran to its end; not when the pictures had to be hidden. */
    async run() {
      const { stage, clock, timing } = this;
      const enough = () => this.press !== null || this.disturbed;
      for (const step of Protocols.sequence(this.protocol, timing)) {
        if (enough()) break;
        stage.show(step);
        this.note(step, await clock.next());
        await clock.pass(this.painted, step, enough);
      }
      if (this.disturbed) return false;
      this.counted = clock.count();
      stage.state = "answered";
      this.note({ state: "answered" }, await clock.next());
      return true;
    }

    /** Keeps what was painted when. */
    note({ state, asks }, painted) {
      const last = this.exposures.at(-1);
      const visible = last?.offset === null;
      if (state === "shown" && !visible) {
        if (!last) this.begin();
        this.exposures.push({ onset: painted, offset: null });
      }
      if (state !== "shown" && visible) last.offset = painted;
      if (asks && this.opens === Infinity) this.opens = Math.max(painted, this.onset + this.timing.enable_after_ms);
      this.painted = painted;
    }

    /** The first onset: frames and losses of focus count from here on, and one that lasts since earlier. */
    begin() {
      this.clock.mark();
      if (ScreenPlugin.covered || !document.hasFocus()) this.losses += 1;
    }

    get onset() {
      return this.exposures.at(-1)?.onset;
    }

    /** The answer and its trace: the data of TrialPlugin. */
    get result() {
      const { press, exposures, onset } = this;
      const { offset } = exposures.at(-1);
      const [first] = exposures;
      const device = Device.describe();
      return {
        choice: press?.choice ?? "none",
        rt_ms: rounded((press?.time ?? this.painted) - onset),
        onset_ms: rounded(onset),
        offset_ms: rounded(offset),
        ...(exposures.length > 1 && { first_onset_ms: rounded(first.onset), first_offset_ms: rounded(first.offset) }),
        ...this.counted,
        focus_losses: this.losses,
        device_pixel_ratio: device.device_pixel_ratio,
        viewport_scale: device.viewport_scale,
        scale: this.stage.scale,
        pauses: this.pauses,
        input: press?.input ?? "none",
        ...(press && { trusted: press.trusted }),
        early_presses: this.early,
        window: device.window,
        screen: device.screen,
        gamut: device.gamut,
      };
    }

    /** Hears keys, buttons and pictures, wherever the focus is. */
    listen(signal) {
      const { stage } = this;
      document.addEventListener("keydown", (event) => this.key(event), { signal, capture: true });
      for (const button of stage.buttons) this.target(button, button.dataset.choice, signal);
      for (const { side, canvas } of stage.places) if (side) this.target(canvas, side, signal);
    }

    key(event) {
      const choice = this.protocol.keys[event.key];
      if (!this.stage.buttons.some((button) => button.dataset.choice === choice)) return;
      if (this.stage.state === "paused" || ScreenPlugin.covered) return;
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault(); // arrows would scroll the page
      if (!event.repeat) this.pressed(choice, event.timeStamp, "key", event);
    }

    target(node, choice, signal) {
      let down = null; // the press is the answer, not its release
      node.addEventListener("pointerdown", (event) => (down = event), { signal });
      node.addEventListener(
        "click",
        (event) => {
          const start = event.detail > 0 && down ? down : event;
          this.pressed(choice, start.timeStamp, start.pointerType || "click", event);
        },
        { signal },
      );
    }

    /** The first press that counts is the answer. */
    pressed(choice, time, input, { isTrusted: trusted }) {
      if (this.press || !this.waiting) return;
      if (time < this.opens) this.early += 1;
      else this.press = { choice, time, input, trusted };
    }

    /** Between the first onset and the answer. */
    get waiting() {
      return this.exposures.length > 0 && !["answered", "paused"].includes(this.stage.state);
    }

    /** Counts losses of focus, and hides the pictures when they no longer suit the screen. */
    watch(signal) {
      const lose = () => this.waiting && (this.losses += 1);
      const hidden = () => {
        this.clock.skip();
        if (document.hidden) lose();
      };
      const inDialog = (node) => node?.closest?.("dialog");
      const away = ({ target, relatedTarget }) => inDialog(target) && !inDialog(relatedTarget) && lose();
      document.addEventListener("visibilitychange", hidden, { signal });
      window.addEventListener("blur", () => !document.hidden && lose(), { signal });
      document.addEventListener("focusin", away, { signal });
      this.stage.addEventListener("change", () => this.inspect(), { signal });
    }

    inspect() {
      if (this.press || this.stage.state === "answered" || !this.stage.problem()) return;
      this.disturbed = true;
      this.stage.state = "paused";
    }

    end() {
      this.listeners.abort();
    }
  }

  return Presentation;
})();
