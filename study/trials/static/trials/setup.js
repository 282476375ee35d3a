"use strict";

/**
 * jsPsych plugin: makes sure that the device can show the study, measures the screen where the design asks for it, and
 * reports both to the server. It shows nothing when there is nothing to ask and nothing in the way.
 *
 * A bank card (85.60 mm x 53.98 mm, ISO/IEC 7810 ID-1) laid on the screen gives pixels per millimetre. The viewing
 * distance is told, or found from the blind spot of the left eye, 13.5 degrees beside a fixated cross (Li, Joo,
 * Yeatman & Reinecke 2020, Scientific Reports 10:904). study/trials/viewing.py has the same numbers.
 */
const SetupPlugin = (({ ParameterType }) => {
  const CARD_MM = { card_long: 85.6, card_short: 53.98 };
  const USUAL = { computer: 4, phone: 6.5, tablet: 6.5 }; // CSS px per mm: tells whether the card's long side fits
  const DENSEST = 12; // CSS px per mm
  const COARSEST = 2; // device px per mm: page zoom makes CSS px larger than any screen's own
  const CARD_START = 180; // CSS px: wrong on every screen, so that the outline has to be changed
  const STEPS = { "much-smaller": -10, smaller: -1, larger: 1, "much-larger": 10 }; // CSS px
  const DISTANCE_MM = { least: 200, most: 1500 };
  const DEGREE = Math.PI / 180;
  const BLIND_SPOT = 13.5 * DEGREE;
  const REPETITIONS = 5;
  const DOT = { nearest: 20, spread: 20, speed: 30 }; // mm from the cross at its start, random mm more, mm per s
  const READY_MS = 600; // the dot rests before it moves
  const SIGHT_MM = 400; // a window in which not even this distance could be found is too narrow for the blind spot
  const LARGEST_MISS = 0.25; // of the design's size in degrees
  const RECHECK_MS = 250;
  const SLOW_MS = 800; // until sending is shown
  const TRIES = 6; // until the page says that there is no connection

  const info = {
    name: "setup",
    version: "1.0.0",
    parameters: {
      /** The server's plan: attempt, protocol, image, scale, image_degrees, calibration, distance, phones, tablets. */
      plan: { type: ParameterType.OBJECT, default: undefined },
      /** (reason) => void: this tab cannot go on: "over", "superseded" or "failed". */
      on_stop: { type: ParameterType.FUNCTION, default: () => {} },
    },
    data: {
      /** Device pixels per image pixel. */
      scale: { type: ParameterType.INT },
      /** window.devicePixelRatio, which has to stay so. */
      ratio: { type: ParameterType.FLOAT },
      /** Device pixels per degree of visual angle; null without calibration or distance. */
      px_per_degree: { type: ParameterType.FLOAT },
    },
  };

  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const never = () => new Promise(() => {});
  const within = (value, { least, most }) => value >= least && value <= most;

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }

  /** Whole device pixels per image pixel nearest to the wanted width; null when off by more than a quarter. */
  function scaleFor({ image_degrees, image }, { px_per_mm, distance_mm }) {
    const exact = (image_degrees * px_per_mm * distance_mm * 2 * Math.tan(DEGREE / 2)) / image.width;
    const scale = Math.max(1, Math.round(exact));
    return Math.abs(scale / exact - 1) <= LARGEST_MISS ? scale : null;
  }

  /** What was measured earlier in this tab, on this screen; the browser may refuse to keep anything. */
  const memory = {
    key: () => `viewing ${location.pathname}`,
    screen: () => `${screen.width}x${screen.height} ${screen.colorDepth}`,
    keep(viewing) {
      try {
        sessionStorage.setItem(this.key(), JSON.stringify({ ...viewing, screen: this.screen() }));
      } catch {
        // then it is measured again after a reload
      }
    },
    recall() {
      try {
        const { screen, ...viewing } = JSON.parse(sessionStorage.getItem(this.key()));
        return screen === this.screen() && viewing.ratio === window.devicePixelRatio ? viewing : null;
      } catch {
        return null;
      }
    },
  };

  class Setup {
    constructor(display, { plan, on_stop }) {
      this.display = display;
      this.plan = plan;
      this.onStop = on_stop;
    }

    async run() {
      await this.untilPossible(this.plan.scale);
      let viewing = (await this.earlier()) ?? (await this.measure());
      for (;;) {
        const scale = this.plan.scale ?? scaleFor(this.plan, viewing);
        if (scale === null) await this.refuseSize();
        else await this.untilPossible(scale);
        const zoomed = viewing.ratio !== window.devicePixelRatio;
        if (scale !== null && !zoomed) return this.finish(scale, viewing);
        viewing = await this.measure(zoomed);
      }
    }

    finish(scale, viewing) {
      if (this.measures) memory.keep(viewing);
      return this.send(scale, viewing);
    }

    get measures() {
      return this.plan.calibration !== "none" || this.plan.distance !== "none";
    }

    // --- pages

    show(template, values) {
      ScreenPlugin.show(this.display, template, values);
    }

    find(selector) {
      return this.display.querySelector(selector);
    }

    /** The first of these that is pressed. */
    pressed(...selectors) {
      return new Promise((resolve) => {
        for (const selector of selectors) {
          this.find(selector).addEventListener("click", () => resolve(selector), { once: true });
        }
      });
    }

    /** Shows one of a page's complaints, and no other; moves the focus to where it can be met. */
    complain(name, field) {
      for (const complaint of this.display.querySelectorAll("[data-complaint]")) {
        complaint.hidden = complaint.dataset.complaint !== name;
      }
      if (name && field) field.focus();
    }

    // --- what stands in the way

    /** Explains what keeps the images from being shown at this scale, for as long as it does. */
    async untilPossible(scale) {
      let shown = null;
      while (this.display.isConnected) {
        const problem = Device.problem(this.plan, scale);
        if (!problem) return;
        const { name, present, needed, cure } = problem;
        if (shown !== name + cure) {
          this.show(`setup-${name}`, { enlarge: cure === "enlarge", turn: cure === "turn", none: cure === null });
          shown = name + cure;
        }
        if (present) {
          this.find('[data-value="present"]').textContent = `${present.width} × ${present.height}`;
          this.find('[data-value="needed"]').textContent = `${needed.width} × ${needed.height}`;
        }
        await delay(RECHECK_MS);
      }
      await never(); // another page has taken over
    }

    /** The screen cannot show the design's size in degrees: measuring again is the only way on. */
    refuseSize() {
      this.show("setup-size");
      return this.pressed("[data-again]");
    }

    // --- measuring

    /** An earlier measurement, if there is one and the participant says that it still holds. */
    async earlier() {
      const viewing = this.measures ? memory.recall() : null;
      if (!viewing) return null;
      this.show("setup-reuse");
      return (await this.pressed("[data-go]", "[data-again]")) === "[data-go]" ? viewing : null;
    }

    /** {ratio, px_per_mm, calibration, distance_mm, distance, ...}, null for what the design does not ask. */
    async measure(zoomed = false) {
      const card = this.plan.calibration === "card" ? await this.measureCard(zoomed) : null;
      const distance = await this.measureDistance(card);
      return {
        ratio: card?.ratio ?? window.devicePixelRatio,
        px_per_mm: card?.px_per_mm ?? null,
        calibration: card?.calibration ?? null,
        ...distance,
      };
    }

    async measureCard(zoomed) {
      this.show("setup-card", { zoomed });
      const ruler = new Ruler(this.display);
      const listeners = new AbortController();
      ruler.listen(listeners.signal);
      for (;;) {
        await this.pressed("[data-go]");
        this.complain(ruler.problem);
        if (!ruler.problem) break;
      }
      listeners.abort();
      return ruler.measured;
    }

    async measureDistance(card) {
      const { distance } = this.plan;
      if (distance === "none") return { distance_mm: null, distance: null };
      if (distance === "blind_spot" && card) return (await this.findBlindSpot(card)) ?? this.askDistance();
      return this.askDistance();
    }

    async askDistance() {
      this.show("setup-distance");
      const [form, field] = [this.find("form"), this.find("input")];
      form.addEventListener("submit", (event) => event.preventDefault());
      for (;;) {
        await new Promise((resolve) => form.addEventListener("submit", resolve, { once: true }));
        const distance_mm = Number(field.value.trim().replace(",", ".")) * 10;
        const possible = within(distance_mm, DISTANCE_MM);
        field.setAttribute("aria-invalid", !possible);
        this.complain(possible ? null : "distance", field);
        if (possible) return { distance_mm, distance: "told" };
      }
    }

    /** The median of five distances, or null where it cannot be done or the participant rather tells the distance. */
    async findBlindSpot({ px_per_mm, ratio }) {
      this.show("setup-blind-spot");
      const sight = new Sight(this.find(".sight"), px_per_mm / ratio);
      if (sight.furthest < SIGHT_MM) return null;
      const told = this.pressed("[data-tell]").then(() => null);
      const found = await Promise.race([told, this.repeatBlindSpot(sight)]);
      sight.stop();
      return found;
    }

    async repeatBlindSpot(sight) {
      const start = this.find("[data-go]");
      for (;;) {
        await this.pressed("[data-go]");
        start.hidden = true;
        const found = await this.distanceBy(sight);
        if (within(found.distance_mm, DISTANCE_MM)) return found;
        start.hidden = false;
        this.complain("distance", start);
      }
    }

    async distanceBy(sight) {
      const status = this.find("[data-count]");
      const distances = [];
      let misses = 0;
      this.complain(null);
      while (distances.length < REPETITIONS) {
        const n = distances.length + 1;
        status.textContent = status.dataset.count.replace("{n}", n).replace("{total}", REPETITIONS);
        const separation = await sight.vanishing();
        if (separation !== null) distances.push(separation / Math.tan(BLIND_SPOT));
        else misses += 1;
        this.complain(separation === null ? "missed" : null);
      }
      return {
        distance_mm: median(distances),
        distance: "blind_spot",
        distance_spread_mm: Math.max(...distances) - Math.min(...distances),
        distance_misses: misses,
      };
    }

    // --- the server

    async send(scale, viewing) {
      const { ratio, ...measured } = viewing;
      const content = { attempt: this.plan.attempt, scale, ...Device.describe(), ...measured };
      const { status, body } = await this.put(content);
      if (status === 200 || status === 201) return { scale, ratio, px_per_degree: body.px_per_degree };
      const over = status === 404 || status === 410;
      this.onStop(over ? "over" : body.error === "superseded" ? "superseded" : "failed");
      return never();
    }

    /** Sends until there is an answer that repeating would not change: {status, body}. */
    async put(content) {
      const slow = setTimeout(() => this.show("one-moment", { late: false }), SLOW_MS);
      const send = () => Requests.send(`${location.pathname}screen`, "PUT", content);
      const reply = await Requests.persist(
        () => (this.display.isConnected ? send() : never()), // never: another page has taken over
        (status) => status !== 0 && status !== 429 && status < 500,
        (failures) => failures === TRIES && this.show("one-moment", { late: true }),
      );
      clearTimeout(slow);
      return reply;
    }
  }

  /** The outline of a card, to be made as large as a real one. Its left edge stays where it is. */
  class Ruler {
    constructor(page) {
      this.page = page;
      this.ruler = page.querySelector(".ruler");
      this.outline = page.querySelector(".outline");
      this.slider = page.querySelector("input[type=range]");
      this.width = CARD_START;
      this.changed = false;
      const long = CARD_MM.card_long * USUAL[Device.kind()];
      this.lay(this.ruler.clientWidth < long ? "card_short" : "card_long");
    }

    /** CSS px across which the outline can grow. */
    get room() {
      return this.ruler.clientWidth;
    }

    get px_per_mm() {
      return this.width / CARD_MM[this.side];
    }

    get measured() {
      const ratio = window.devicePixelRatio;
      return { px_per_mm: this.px_per_mm * ratio, calibration: this.side, ratio };
    }

    /** What is wrong with the width: "unchanged", "implausible" or null. */
    get problem() {
      if (!this.changed) return "unchanged";
      const plausible = this.px_per_mm <= DENSEST && this.measured.px_per_mm >= COARSEST;
      return plausible ? null : "implausible";
    }

    /** Lays the card's long or short side across. */
    lay(side) {
      this.side = side;
      for (const node of this.page.querySelectorAll("[data-side]")) node.hidden = node.dataset.side !== side;
      this.draw();
    }

    set(width) {
      this.width = Math.max(Number(this.slider.min), width);
      this.changed = true;
      this.draw();
    }

    draw() {
      const long = this.side === "card_long";
      const { card_long: length, card_short: breadth } = CARD_MM;
      this.width = Math.min(this.width, this.room);
      this.outline.style.width = `${this.width}px`;
      this.outline.style.aspectRatio = long ? `${length} / ${breadth}` : `${breadth} / ${length}`;
      this.slider.max = this.room;
      this.slider.value = this.width;
    }

    listen(signal) {
      this.slider.addEventListener("input", () => this.set(Number(this.slider.value)), { signal });
      for (const [name, step] of Object.entries(STEPS)) {
        const button = this.page.querySelector(`[data-step="${name}"]`);
        button.addEventListener("click", () => this.set(this.width + step), { signal });
      }
      for (const button of this.page.querySelectorAll("[data-lay]")) {
        button.addEventListener("click", () => this.turn(button.dataset.lay), { signal });
      }
      window.addEventListener("resize", () => this.draw(), { signal });
      document.addEventListener("keydown", (event) => this.key(event), { signal });
    }

    /** Lays the card the other way, keeping the focus on the button that turns it back. */
    turn(side) {
      this.lay(side);
      this.page.querySelector("[data-lay]:not([hidden])").focus();
    }

    /** Arrows resize wherever the focus is; the slider has them of its own. */
    key(event) {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!direction || event.target === this.slider || ScreenPlugin.covered) return;
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.set(this.width + direction * (event.shiftKey ? STEPS["much-larger"] : STEPS.larger));
    }
  }

  /** A cross at the right and a dot that moves away from it to the left, until it is no longer seen. */
  class Sight {
    constructor(field, css_px_per_mm) {
      this.field = field;
      this.dot = field.querySelector(".dot");
      this.cross = field.querySelector(".afc-fixation");
      this.css_px_per_mm = css_px_per_mm;
      this.journey = null;
      this.stopped = false;
    }

    /** Where the cross is, CSS px from the left edge of the field. */
    get origin() {
      return this.cross.offsetLeft + this.cross.offsetWidth / 2;
    }

    /** The furthest viewing distance, mm, at which the dot still reaches the blind spot. */
    get furthest() {
      return this.origin / this.css_px_per_mm / Math.tan(BLIND_SPOT);
    }

    stop() {
      this.stopped = true;
      this.journey?.abort();
    }

    /** One journey of the dot: mm from the cross at the press; null when it arrived at the edge without one. */
    async vanishing() {
      if (this.stopped) return never();
      this.journey = new AbortController();
      const { signal } = this.journey;
      const first = DOT.nearest + Math.random() * DOT.spread;
      const last = this.origin / this.css_px_per_mm;
      this.field.focus({ preventScroll: true });
      this.field.scrollIntoView({ block: "center" });
      this.place(first);
      this.dot.hidden = false;
      await delay(READY_MS);
      const start = await new Promise((resolve) => requestAnimationFrame(resolve));
      const separation = (time) => first + (DOT.speed * Math.max(0, time - start)) / 1000;
      const press = this.press(signal).then(separation);
      const edge = this.move(separation, last, signal).then(() => null);
      const result = await Promise.race([press, edge]);
      this.journey.abort();
      this.dot.hidden = true;
      return result;
    }

    place(separation) {
      this.dot.style.left = `${this.origin - separation * this.css_px_per_mm}px`;
    }

    /** Resolves when the dot has reached the edge. */
    move(separation, last, signal) {
      return new Promise((resolve) => {
        const step = (now) => {
          if (signal.aborted) return;
          this.place(Math.min(last, separation(now)));
          if (separation(now) >= last) resolve();
          else requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
      });
    }

    /** When the space bar or the field was pressed, on the clock of animation frames. */
    press(signal) {
      return new Promise((resolve) => {
        const key = (event) => {
          if (event.key !== " " || event.repeat || event.target.closest("button") || ScreenPlugin.covered) return;
          event.preventDefault(); // it would scroll the page
          resolve(event.timeStamp);
        };
        document.addEventListener("keydown", key, { signal });
        this.field.addEventListener("pointerdown", ({ timeStamp }) => resolve(timeStamp), { signal });
      });
    }
  }

  class SetupPlugin {
    static info = info;

    constructor(jsPsych) {
      this.jsPsych = jsPsych;
    }

    async trial(display, trial, onLoad) {
      onLoad?.();
      return new Setup(display, trial).run();
    }

    /** Measures nothing: a screen of 96 CSS px per inch, 60 cm away, at which the design's scale or size is shown. */
    async simulate(trial, mode, options, onLoad) {
      const { plan } = trial;
      const ratio = window.devicePixelRatio;
      const measured = this.jsPsych.pluginAPI.mergeSimulationData(
        {
          ratio,
          px_per_mm: plan.calibration === "card" ? (ratio * 96) / 25.4 : null,
          calibration: plan.calibration === "card" ? "card_long" : null,
          distance_mm: plan.distance === "none" ? null : 600,
          distance: plan.distance === "none" ? null : "told",
        },
        options,
      );
      onLoad?.();
      const setup = new Setup(this.jsPsych.getDisplayElement(), trial);
      return setup.send(plan.scale ?? scaleFor(plan, measured) ?? 1, measured);
    }
  }

  return SetupPlugin;
})(jsPsychModule);
