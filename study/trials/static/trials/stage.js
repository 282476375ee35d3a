"use strict";

/**
 * Where pictures are shown: each of their pixels covers exactly k × k device pixels.
 *
 * A canvas's backing store is picture size × k, its CSS size is that ÷ devicePixelRatio, smoothing is off, and its
 * corner is moved onto a whole device pixel. Fires "change" when the window, its place or its ratio changes.
 */
const Stage = (() => {
  const SAME = 0.001; // ratios are fractions that browsers round

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  /** One canvas, and the pictures that it shows in turn. */
  class Place {
    constructor({ side, pictures }, label, scale, ratio) {
      this.side = side;
      this.pictures = pictures;
      this.ratio = ratio;
      this.canvas = element("canvas", { role: "img", "aria-label": label });
      this.canvas.width = pictures[0].width * scale;
      this.canvas.height = pictures[0].height * scale;
      this.canvas.style.width = `${this.canvas.width / ratio}px`;
      this.canvas.style.height = `${this.canvas.height / ratio}px`;
      this.context = this.canvas.getContext("2d", { alpha: false, colorSpace: "srgb" });
      this.context.imageSmoothingEnabled = false;
    }

    draw(picture) {
      this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    }

    /** Moves the canvas by less than a device pixel, so that its corner lies on a whole one. */
    snap() {
      const { ratio } = this;
      const { style } = this.canvas;
      style.left = style.top = "0px";
      const { left, top } = this.canvas.getBoundingClientRect();
      style.left = `${(Math.round(left * ratio) - left * ratio) / ratio}px`;
      style.top = `${(Math.round(top * ratio) - top * ratio) / ratio}px`;
    }
  }

  class Stage extends EventTarget {
    /** Fills `display` with a trial of TrialPlugin's parameters, in the state "fixation". */
    constructor(display, { protocol, images, scale, ratio, not_sure, timing, prompt, labels }) {
      super();
      this.closing = new AbortController();
      const pictures = images();
      this.protocol = protocol;
      this.image = pictures.left[0];
      this.scale = scale;
      this.ratio = ratio ?? window.devicePixelRatio;
      this.mask = timing.mask_ms > 0 ? Mask.scramble(this.image) : null;
      this.places = Protocols[protocol].places(pictures).map((place) => {
        return new Place(place, labels[`${place.side ?? "left"}_image`], scale, this.ratio);
      });
      this.buttons = this.answers(not_sure, labels);
      this.build(display, prompt, timing.exposure_ms !== null);
      this.warmUp();
      this.watch();
      this.reveal();
    }

    answers(not_sure, labels) {
      return ["left", "right", ...(not_sure ? ["unsure"] : [])].map((choice) =>
        element("button", { type: "button", class: "afc-answer", "data-choice": choice }, labels[choice]),
      );
    }

    build(display, prompt, fixed) {
      this.note = element("div", { class: "afc-note" });
      this.images = element(
        "div",
        { class: "afc-images" },
        ...this.places.map(({ canvas }) => canvas),
        element("span", { class: "afc-fixation", "aria-hidden": "true" }),
      );
      this.cover = element("div", { class: "afc-cover" });
      this.root = element(
        "div",
        { class: "afc-stage", "data-protocol": this.protocol, "data-state": "fixation" },
        element("h1", { class: "afc-prompt" }, prompt),
        this.images,
        element("div", { class: "afc-answers" }, ...this.buttons),
        this.note,
        this.cover,
      );
      this.root.toggleAttribute("data-fixed", fixed);
      display.replaceChildren(this.root);
    }

    /** Draws everything once while nothing is visible: the first drawing of a picture takes longer than the next. */
    warmUp() {
      for (const place of this.places) {
        for (const picture of [...place.pictures, this.mask]) if (picture) place.draw(picture);
      }
    }

    watch() {
      const { signal } = this;
      const changed = () => {
        this.snap();
        this.dispatchEvent(new Event("change"));
      };
      window.addEventListener("resize", changed, { signal });
      window.addEventListener("scroll", changed, { signal, passive: true });
      window.visualViewport?.addEventListener("resize", changed, { signal });
      const observer = new ResizeObserver(changed);
      observer.observe(this.root);
      signal.addEventListener("abort", () => observer.disconnect());
      this.watchRatio(changed, this.ratio);
    }

    /** Looks in every frame: browsers do not tell of every change of the ratio, nor when a run is cut short. */
    watchRatio(changed, known) {
      const ratio = window.devicePixelRatio;
      if (!this.root.isConnected) this.close();
      if (this.signal.aborted) return;
      if (ratio !== known) changed();
      requestAnimationFrame(() => this.watchRatio(changed, ratio));
    }

    /** Ends everything that goes on for this trial. */
    close() {
      this.closing.abort();
    }

    /** Aborted when the trial is over. */
    get signal() {
      return this.closing.signal;
    }

    get state() {
      return this.root.dataset.state;
    }

    set state(name) {
      this.root.dataset.state = name;
    }

    /** Shows one picture of every place, or the mask at all; in some states nothing is visible. */
    show({ state, picture }) {
      if (picture !== undefined) {
        for (const place of this.places) place.draw(picture === "mask" ? this.mask : place.pictures[picture]);
      }
      this.state = state;
    }

    snap() {
      for (const place of this.places) place.snap();
    }

    /** In a window too low for the whole page, what matters is in view: the answers, and before them the pictures. */
    reveal() {
      for (const part of [this.note, this.images]) part.scrollIntoView({ block: "nearest" });
      this.snap();
    }

    /** Why the pictures cannot be shown as they were at set-up: "ratio", "zoom", "window" or null. */
    problem() {
      if (Math.abs(window.devicePixelRatio - this.ratio) > SAME) return "ratio";
      const { protocol, image } = this;
      return Device.problem({ phones: true, tablets: true, protocol, image }, this.scale)?.name ?? null;
    }

    /** Hides the pictures and says why, until they can be shown again and the participant goes on. */
    async pause() {
      this.state = "paused";
      ScreenPlugin.show(this.cover, "paused");
      const go = this.cover.querySelector("[data-go]");
      const update = () => {
        const problem = this.problem() ?? "none";
        for (const part of this.cover.querySelectorAll("[data-if]")) part.hidden = part.dataset.if !== problem;
        go.disabled = problem !== "none";
      };
      const done = new AbortController();
      this.addEventListener("change", update, { signal: done.signal });
      update();
      await new Promise((resolve) => go.addEventListener("click", resolve, { once: true }));
      done.abort();
      this.cover.replaceChildren();
      this.state = "fixation";
      this.reveal();
    }

    /** Frames the places of one side and puts an explanation and its button under them. */
    explain({ correct, altered_side, text, button }) {
      for (const { side, canvas } of this.places) canvas.classList.toggle("is-altered", side === altered_side);
      const go = element("button", { type: "button", class: "button-main", "aria-describedby": "explanation" }, button);
      const verdict = element("p", { id: "explanation", class: correct ? "is-right" : "is-wrong" }, text);
      this.note.replaceChildren(verdict, go);
      this.state = "explained";
      this.reveal();
      go.focus({ preventScroll: true });
      return go;
    }
  }

  return Stage;
})();
