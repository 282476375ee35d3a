"use strict";

/**
 * One run: set-up of the screen, instructions, practice with feedback, the main part. What comes after is a page of the
 * server's: this one then loads itself again.
 *
 * The server's plan says what is left to do, and its acknowledgements what became unnecessary; a reload starts there
 * again. Texts are the page's own <template>s and data attributes, so this file holds none.
 */
(() => {
  const PATIENCE_MS = 60_000; // until a participant is told that sending takes long
  const SLOW_MS = 800; // until a page says that it is waiting
  const RECEIPT = "blindspot-receipt-1";
  const OVER = [404, 410];

  const base = location.pathname;
  const main = document.getElementById("run");
  const texts = { ...main.dataset, ...document.getElementById("task").dataset };
  const bar = document.getElementById("progress");
  const count = document.getElementById("count");
  const notice = document.getElementById("notice");

  const isPractice = ({ phase }) => phase === "practice";
  const isMain = (trial) => !isPractice(trial);

  class Run {
    async start() {
      this.outbox = await Outbox.open(base);
      this.outbox.addEventListener("stop", ({ detail }) => (detail === "over" ? this.over() : this.halt(detail)));
      this.outbox.addEventListener("change", () => this.showConnection());
      this.outbox.addEventListener("outoforder", ({ detail }) => this.reorder(detail));
      this.listen();
      if (!(await this.begin())) return;
      const left = this.left();
      this.round = left.find(isPractice)?.round ?? 1;
      this.answered = this.foreseen().length - left.filter((trial) => this.isForeseen(trial)).length;
      this.showProgress();
      if (left.length) await this.runTrials(left);
      if (!this.halted) await this.finish();
    }

    /** Reads the plan. Where the server chooses what comes next, it first gets every answer it does not have yet. */
    async begin() {
      if (!(await this.readPlan())) return false;
      const next = this.left()[0];
      if (!this.outbox.size || !next || !this.followsAnswer(next)) return true;
      this.showSending();
      await this.outbox.drained();
      return this.readPlan();
    }

    /** This tab now leads the run; older tabs of this browser hear it at once, others with their next answer. */
    claim(attempt) {
      if (!("BroadcastChannel" in window)) return;
      this.channel ??= new BroadcastChannel(base);
      this.channel.onmessage = ({ data }) => data > this.plan.attempt && this.halt("superseded");
      this.channel.postMessage(attempt);
    }

    // --- the plan

    /** The trials that have no answer yet and have not become unnecessary. */
    left() {
      return this.plan.trials.filter((trial) => this.isDue(trial) && !this.outbox.holds(trial.index));
    }

    isDue({ index }) {
      return index >= this.outbox.next;
    }

    /** Whether it comes for certain, as far as one knows: a later round of practice may not. */
    isForeseen(trial) {
      return isMain(trial) || trial.round <= this.round;
    }

    foreseen() {
      return this.plan.trials.filter((trial) => this.isForeseen(trial));
    }

    /** Whether the server has to have the answer before this trial, because it decides on what comes next. */
    followsAnswer(trial) {
      return isPractice(trial) || this.plan.adaptive;
    }

    // --- the timeline

    async runTrials(left) {
      this.images = new ImageLoader(base, this.plan, () => this.showLoading());
      main.replaceChildren(); // jsPsych would put its pages below one that asks for patience
      this.jsPsych = initJsPsych({
        display_element: main,
        on_trial_start: () => (main.tabIndex = -1), // focusable, but no stop on the way of the Tab key
      });
      const timeline = this.timeline(left);
      await ("simulate" in texts ? this.jsPsych.simulate(timeline, "visual") : this.jsPsych.run(timeline));
    }

    timeline(left) {
      const rounds = byRound(left.filter(isPractice));
      const blocks = cut(left.filter(isMain), this.plan.break_every);
      const [first = []] = blocks;
      const welcome = this.answered ? "resume" : "instructions";
      return [
        {
          type: SetupPlugin,
          plan: this.plan,
          on_stop: (reason) => (reason === "over" ? this.over() : this.halt(reason)),
          on_finish: ({ scale, ratio }) => (this.display = { scale, ratio }),
        },
        ...(this.plan.protocol === "flicker" ? [this.screen("warning")] : []),
        this.screen(welcome, { needs: [...(rounds[0] ?? []), ...first], then: blocks.slice(1).flat() }),
        ...rounds.map((round, i) => this.series(round, i ? [this.screen("again", { needs: round, urgent: true })] : [])),
        ...(rounds.length && blocks.length ? [this.screen("practice-over")] : []),
        ...blocks.map((block, i) => this.series(block, i ? [this.screen("break", { needs: block })] : [])),
      ];
    }

    /**
     * A page of text; meanwhile images are fetched. Its button works once those of the trials that it `needs` are
     * there; those `then` come after them.
     */
    screen(template, { needs = [], then = [], urgent = false } = {}) {
      return {
        type: ScreenPlugin,
        template,
        values: () => this.values(),
        ready: () => {
          this.images.resume();
          this.needed = needs;
          const loaded = this.load(needs, urgent);
          this.load(then);
          return loaded;
        },
        leave: () => this.images.pause(),
      };
    }

    /** Those of the trials that are still due when their turn comes; before the first of them, `screens`. */
    series(trials, screens) {
      const ifDue = (trial) => ({ timeline: [this.trial(trial)], conditional_function: () => this.isDue(trial) });
      return {
        timeline: [...screens, ...trials.map(ifDue)],
        conditional_function: () => trials.some((trial) => this.isDue(trial)),
        on_timeline_start: () => (this.round = trials[0].round ?? this.round),
      };
    }

    trial(trial) {
      const { protocol, not_sure, timing } = this.plan;
      const { index } = trial;
      return {
        type: TrialPlugin,
        protocol,
        not_sure,
        timing,
        images: () => this.images.images(index, trial.candidates ? this.candidate : 0),
        scale: () => this.display.scale,
        ratio: () => this.display.ratio,
        prompt: texts.prompt,
        labels: {
          left: texts.left,
          right: texts.right,
          unsure: texts.unsure,
          left_image: texts.leftImage,
          right_image: texts.rightImage,
        },
        on_start: () => this.showProgress(trial),
        on_answer: (data) => this.keep(trial, data),
        on_finish: () => {
          this.images.release(index);
          if (this.practice?.outcome === "failed") this.over();
        },
      };
    }

    /** Writes the answer down, and waits for what the server says about it where that decides how it goes on. */
    async keep(trial, { choice, rt_ms, ...trace }) {
      if (this.halted) return null;
      const stored = this.outbox.acknowledged(trial.index);
      await this.outbox.add(trial.index, { choice, rt_ms, trace });
      this.answered += 1;
      this.showProgress();
      if (!this.followsAnswer(trial)) return null;
      const { feedback, practice, candidate } = await this.waitFor(stored);
      this.practice = practice;
      this.candidate = candidate;
      if (candidate === undefined && this.left()[0]?.candidates) location.reload(); // the plan says which
      return feedback ? this.explanation(choice, feedback) : null;
    }

    async waitFor(acknowledgement) {
      this.waiting = true;
      this.showConnection();
      const body = await acknowledgement;
      this.waiting = false;
      this.showConnection();
      return body;
    }

    explanation(choice, { correct, altered }) {
      const verdict = { none: texts.late, unsure: texts.unsureVerdict }[choice] ?? (correct ? texts.correct : texts.wrong);
      const where = altered === "left" ? texts.leftAltered : texts.rightAltered;
      return { correct, altered_side: altered, text: `${verdict} ${where}`, button: texts.continue };
    }

    /** Fetches the images of these trials; a refusal ends the run. */
    async load(trials, urgent) {
      if (!trials.length) return;
      try {
        await this.images.load(trials.map(({ index }) => index), { urgent });
      } catch ({ status }) {
        if (status === 410) this.over();
        else this.halt(status === 403 ? "unavailable" : "failed");
      }
    }

    // --- the end

    /** Waits until the server has everything, and asks for the end, of which the server has a page. */
    async finish() {
      if (this.outbox.size) this.showSending();
      await this.outbox.drained();
      await persist(() => post("complete"), [200, 409, ...OVER], () => this.showSending());
      location.reload(); // if answers are missing, the plan leads to them
    }

    /** The server has ended the run: its page says how. Answers that did not reach it can be saved first. */
    over() {
      if (this.outbox.size) return this.halt("unsent");
      if (this.halted) return;
      this.stop();
      location.reload();
    }

    /** Stops this tab with a page that says why. */
    halt(reason) {
      if (this.halted) return;
      if (reason !== "unavailable") this.outbox.stopped = true; // answers to images seen earlier still go out
      this.stop();
      notice.hidden = true;
      document.body.classList.add("is-ended");
      const unsent = this.outbox.unsent.length;
      ScreenPlugin.show(main, reason, { unsent });
    }

    stop() {
      this.halted = true;
      this.images?.pause();
      this.jsPsych?.abortExperiment();
    }

    /** The answers that did not arrive, as a file that the researcher can import. */
    saveReceipt() {
      const { code } = texts;
      const receipt = { format: RECEIPT, code, answers: this.outbox.unsent };
      const file = new Blob([JSON.stringify(receipt, null, 1)], { type: "application/json" });
      const link = document.createElement("a");
      Object.assign(link, { href: URL.createObjectURL(file), download: `answers-${code}.json` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), PATIENCE_MS);
    }

    /** A page that asks for patience; later it says what to do, and offers the answers as a file. */
    showSending() {
      if (main.querySelector("[data-late]")) return;
      ScreenPlugin.show(main, "sending");
      this.showConnection();
      const [later, file] = main.querySelectorAll("[data-late]");
      setTimeout(() => {
        later.hidden = false;
        file.hidden = !this.outbox.unsent.length;
      }, PATIENCE_MS);
    }

    /** Before there is anything to do, a page that asks for patience; later a notice beside it. */
    showWaiting(late) {
      if (!this.jsPsych) ScreenPlugin.show(main, "one-moment", { late });
      else if (late) this.showNotice("offline");
    }

    // --- the server

    /** Whether there is a plan: else the run is over. Reading it begins a new attempt, under which answers are sent. */
    async readPlan() {
      this.outbox.pause(); // an answer sent meanwhile would be an older tab's
      const slow = setTimeout(() => this.showWaiting(false), SLOW_MS);
      const { status, body } = await persist(
        () => Requests.send(`${base}plan`, "GET"),
        [200, ...OVER],
        (failures) => failures === 1 && this.showWaiting(true),
      );
      clearTimeout(slow);
      this.showNotice("");
      if (status !== 200) this.over();
      if (this.halted || status !== 200) return false;
      this.plan = Object.assign(this.plan ?? {}, body); // the set-up may be using it
      this.candidate = body.candidate;
      this.claim(body.attempt);
      this.outbox.start(body.attempt, body.next_index);
      return true;
    }

    /** The server wants another trial first: unless that answer is on its way, this page has to go back to it. */
    async reorder(index) {
      const { next_index: next } = (await this.readPlan()) ? this.plan : {};
      if (next < index && !this.outbox.holds(next)) location.reload();
    }

    // --- what the frame of the page says

    /** The numbers and facts that screens may name. */
    values() {
      const { plan, practice } = this;
      const { exposure_ms, response_ms, flicker_ms } = plan.timing;
      const seconds = (ms) => (ms / 1000).toLocaleString(document.documentElement.lang);
      return {
        practice: plan.trials.filter((trial) => isPractice(trial) && trial.round === this.round).length,
        main: plan.trials.filter(isMain).length,
        answered: this.answered,
        total: this.foreseen().length,
        correct: practice?.correct,
        needed: practice?.needed,
        of: practice?.of,
        question: texts.question,
        not_sure: plan.not_sure,
        sure: !plan.not_sure,
        adaptive: plan.adaptive,
        unlimited: exposure_ms === null && response_ms === null,
        brief: exposure_ms !== null,
        limited: response_ms !== null,
        response_s: seconds(response_ms),
        flicker_s: seconds(flicker_ms),
        reduced_motion: matchMedia("(prefers-reduced-motion: reduce)").matches,
      };
    }

    /** How far it is; with a trial, also which one this is. */
    showProgress(trial) {
      bar.max = this.foreseen().length;
      bar.value = this.answered;
      if (!trial) return;
      document.dispatchEvent(new CustomEvent("trialbegins", { detail: trial.index }));
      const alike = this.plan.trials.filter(({ phase, round }) => phase === trial.phase && round === trial.round);
      const text = isPractice(trial) ? texts.practiceCount : this.plan.adaptive ? texts.mostCount : texts.mainCount;
      count.textContent = text.replace("{n}", alike.findIndex(({ index }) => index === trial.index) + 1).replace("{total}", alike.length);
    }

    showLoading() {
      const waits = main.querySelector("[data-go]:disabled ~ [data-loading] progress");
      if (!waits) return this.showConnection();
      const { loaded, total } = this.images.count(this.needed.map(({ index }) => index));
      Object.assign(waits, { max: total, value: loaded });
      this.showNotice(this.images.failing ? "images" : "");
    }

    showConnection() {
      const told = main.querySelector("[data-late]"); // the page itself asks for patience, and names its foot
      const failing = this.outbox.failing && this.outbox.size && !told;
      this.showNotice(failing ? (this.waiting ? "waiting" : "offline") : "");
    }

    showNotice(name) {
      notice.textContent = name ? texts[`${name}Notice`] : "";
      notice.hidden = !name;
    }

    // --- what a participant may press on any page of text

    listen() {
      main.addEventListener("click", ({ target }) => {
        if (target.closest("[data-reload]")) location.reload();
        if (target.closest("[data-receipt]")) this.saveReceipt();
        if (target.closest("[data-screen-out]")) this.screenOut(target.closest("[data-screen-out]").dataset.screenOut);
      });
      const dialog = document.getElementById("withdraw");
      const problem = dialog.querySelector("[data-problem]");
      document.getElementById("leave").addEventListener("click", () => {
        problem.hidden = true;
        dialog.showModal();
      });
      dialog.querySelector("[data-stay]").addEventListener("click", () => dialog.close());
      dialog.querySelector("[data-withdraw]").addEventListener("click", () => this.withdraw(problem));
    }

    /** Erases everything, here and on the server. */
    async withdraw(problem) {
      this.outbox.pause(); // an answer on its way may come back first, refused: the run still ends as withdrawn
      const { status } = await post("withdraw");
      if (![200, ...OVER].includes(status)) {
        problem.hidden = false;
        return this.outbox.start(this.plan?.attempt ?? null, this.outbox.next);
      }
      await this.outbox.clear();
      this.stop();
      location.reload();
    }

    /** Leaves for a reason that is no withdrawal: nothing was answered yet. */
    async screenOut(reason) {
      const { status } = await post("screen-out", { reason });
      if ([200, ...OVER].includes(status)) return this.over();
      const problem = main.querySelector("[data-problem]");
      if (problem) problem.hidden = false; // none: meanwhile nothing stands in the way any more
    }
  }

  /** Practice trials as one list for each round, in order. */
  function byRound(trials) {
    const rounds = [...new Set(trials.map(({ round }) => round))];
    return rounds.map((wanted) => trials.filter(({ round }) => round === wanted));
  }

  /** Cuts a list into pieces of nearly the same length, none longer than `longest` (0: one piece). */
  function cut(list, longest) {
    const pieces = Math.ceil(list.length / (longest || list.length || 1));
    const length = Math.ceil(list.length / pieces);
    return Array.from({ length: pieces }, (_, i) => list.slice(i * length, (i + 1) * length)).filter((piece) => piece.length);
  }

  const post = (path, content = {}) => Requests.send(base + path, "POST", content);
  const persist = (ask, finals, onFailure) => Requests.persist(ask, (status) => finals.includes(status), onFailure);

  new Run().start().catch((error) => {
    ScreenPlugin.show(main, "failed");
    throw error;
  });
})();
