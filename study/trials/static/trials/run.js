"use strict";

/**
 * One run: instructions, practice with feedback, the main part, the completion code.
 *
 * The server's plan says what is left to do; a reload starts there again. Texts are the page's own <template>s and
 * data attributes, so this file holds none.
 */
(() => {
  const BLOCK = 40; // pairs between two breaks
  const PATIENCE_MS = 60_000; // until a participant is told that sending takes long

  const base = location.pathname;
  const main = document.getElementById("run");
  const texts = main.dataset;
  const bar = document.getElementById("progress");
  const count = document.getElementById("count");
  const notice = document.getElementById("notice");

  const isPractice = ({ phase }) => phase === "practice";

  class Run {
    async start() {
      this.outbox = await Outbox.open(base);
      this.outbox.addEventListener("stop", ({ detail }) => this.halt(detail));
      this.outbox.addEventListener("change", () => this.showConnection());
      this.outbox.addEventListener("outoforder", ({ detail }) => this.reorder(detail));
      main.addEventListener("click", ({ target }) => target.closest("[data-reload]") && location.reload());
      this.withdrawal();
      this.plan = await this.readPlan();
      if (!this.plan) return this.halt("over");
      this.claim(this.plan.attempt);
      this.outbox.start(this.plan.attempt, this.plan.next_index);
      const left = this.plan.trials.filter(({ index }) => index >= this.plan.next_index && !this.outbox.holds(index));
      this.answered = this.plan.trials.length - left.length;
      this.showProgress();
      if (left.length) await this.runTrials(left);
      if (!this.halted) await this.finish();
    }

    /** This tab now leads the run; older tabs of this browser hear it at once, others with their next answer. */
    claim(attempt) {
      if (!("BroadcastChannel" in window)) return;
      this.channel ??= new BroadcastChannel(base);
      this.channel.onmessage = ({ data }) => data > this.plan.attempt && this.halt("superseded");
      this.channel.postMessage(attempt);
    }

    // --- the timeline

    async runTrials(left) {
      const images = new ImageLoader(base, (loaded, total) => this.showLoading(loaded, total));
      const loading = this.loadPatiently(images, left);
      this.jsPsych = initJsPsych({
        display_element: main,
        on_trial_start: () => (main.tabIndex = -1), // focusable, but no stop on the way of the Tab key
      });
      await this.jsPsych.run(this.timeline(left, images, () => loading));
    }

    timeline(left, images, ready) {
      const screen = (template) => ({ type: ScreenPlugin, template, values: () => this.values(), ready });
      const pairs = (trials) => trials.map((trial) => this.pair(trial, images));
      const practice = pairs(left.filter(isPractice));
      const rest = pairs(left.filter((trial) => !isPractice(trial)));
      const block = Math.ceil(rest.length / Math.ceil(rest.length / BLOCK));
      return [
        screen(this.answered ? "resume" : "instructions"),
        ...practice,
        ...(practice.length && rest.length ? [screen("practice-over")] : []),
        ...rest.flatMap((pair, i) => (i && i % block === 0 ? [screen("break"), pair] : [pair])),
      ];
    }

    /** The numbers that screens may name. */
    values() {
      const { trials } = this.plan;
      const practice = trials.filter(isPractice).length;
      return { practice, main: trials.length - practice, answered: this.answered, total: trials.length };
    }

    pair({ index, phase }, images) {
      return {
        type: AfcPairPlugin,
        images: () => images.pair(index),
        scale: this.plan.scale,
        ...this.plan.timing,
        prompt: texts.prompt,
        labels: { left: texts.left, right: texts.right, left_image: texts.leftImage, right_image: texts.rightImage },
        on_start: () => this.showProgress(index),
        on_answer: (data) => this.keep(index, phase, data),
        on_finish: () => images.release(index),
      };
    }

    /** Writes the answer down. A practice trial also waits for what the server says about it. */
    async keep(index, phase, { choice, rt_ms, ...trace }) {
      if (this.halted) return null;
      const stored = this.outbox.acknowledged(index);
      await this.outbox.add(index, { choice, rt_ms, trace });
      this.answered += 1;
      this.showProgress();
      if (phase !== "practice") return null;
      const { feedback } = await stored;
      return feedback ? this.explanation(feedback) : null;
    }

    explanation({ correct, altered }) {
      const verdict = correct ? texts.correct : texts.wrong;
      const where = altered === "left" ? texts.leftAltered : texts.rightAltered;
      return { correct, altered_side: altered, text: `${verdict} ${where}`, button: texts.continue };
    }

    // --- the end

    async finish() {
      const sending = () => main.querySelector("[data-late]") ?? ScreenPlugin.show(main, "sending");
      if (this.outbox.size) sending();
      const late = setTimeout(() => main.querySelectorAll("[data-late]").forEach((p) => (p.hidden = false)), PATIENCE_MS);
      await this.outbox.drained();
      const { status, body } = await persist(() => request("complete", "POST"), [200, 404, 409, 410], sending);
      clearTimeout(late);
      if (status === 409) return location.reload(); // an answer is missing: the plan leads to it
      if (status === 404 || status === 410) return this.halt("over");
      this.showEnd(body);
    }

    showEnd({ code, return_url }) {
      this.halted = true;
      document.body.classList.add("is-ended");
      ScreenPlugin.show(main, "end", { code, has_code: Boolean(code), has_return: Boolean(return_url) });
      const link = main.querySelector("[data-return]");
      if (return_url) link.href = return_url;
      const copy = main.querySelector("[data-copy]");
      copy.hidden = !navigator.clipboard;
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code);
        copy.textContent = copy.dataset.copied;
      });
    }

    /** Stops this tab with a page that says why. */
    halt(reason) {
      if (this.halted) return;
      this.halted = true;
      if (reason !== "unavailable") this.outbox.stopped = true; // answers to images seen earlier still go out
      if (this.jsPsych) this.jsPsych.abortExperiment();
      notice.hidden = true;
      document.body.classList.add("is-ended");
      ScreenPlugin.show(main, reason);
    }

    // --- the server

    /** The plan, or null when the run is over. */
    async readPlan() {
      const { status, body } = await persist(() => request("plan", "GET"), [200, 404, 410], () => this.showNotice("offline"));
      this.showNotice("");
      return status === 200 ? body : null;
    }

    /** The server wants another trial first: unless that answer is on its way, this page has to go back to it. */
    async reorder(index) {
      this.outbox.pause(); // reading the plan begins a new attempt: an answer sent meanwhile would be an older tab's
      const plan = await this.readPlan();
      if (!plan) return this.halt("over");
      if (plan.next_index < index && !this.outbox.holds(plan.next_index)) return location.reload();
      this.plan.attempt = plan.attempt;
      this.outbox.start(plan.attempt, plan.next_index);
    }

    async loadPatiently(images, left) {
      for (;;) {
        try {
          await images.load(left.map(({ index }) => index));
          return this.showNotice("");
        } catch ({ final, status }) {
          if (final) return this.halt(status === 403 ? "unavailable" : "over");
          this.showNotice("images");
          await new Promise((resolve) => setTimeout(resolve, 3000));
        }
      }
    }

    // --- what the frame of the page says

    showProgress(index) {
      const { trials } = this.plan;
      bar.max = trials.length;
      bar.value = this.answered;
      if (index === undefined) return;
      const { phase } = trials.find((trial) => trial.index === index);
      const alike = trials.filter((trial) => trial.phase === phase);
      const n = alike.findIndex((trial) => trial.index === index) + 1;
      const text = phase === "practice" ? texts.practiceCount : texts.mainCount;
      count.textContent = text.replace("{n}", n).replace("{total}", alike.length);
    }

    showLoading(loaded, total) {
      const loading = main.querySelector("[data-loading] progress");
      if (loading) Object.assign(loading, { max: total, value: loaded });
    }

    showConnection() {
      this.showNotice(this.outbox.failing && this.outbox.size ? "offline" : "");
    }

    showNotice(name) {
      notice.textContent = name ? texts[`${name}Notice`] : "";
      notice.hidden = !name;
    }

    // --- leaving

    withdrawal() {
      const dialog = document.getElementById("withdraw");
      const problem = dialog.querySelector("[data-problem]");
      document.getElementById("leave").addEventListener("click", () => {
        problem.hidden = true;
        dialog.showModal();
      });
      dialog.querySelector("[data-stay]").addEventListener("click", () => dialog.close());
      dialog.querySelector("[data-withdraw]").addEventListener("click", async () => {
        this.outbox.pause(); // an answer on its way may come back first, refused: this page still ends as withdrawn
        const { status } = await request("withdraw", "POST");
        if (![200, 204, 404, 410].includes(status)) {
          problem.hidden = false;
          return this.outbox.start(this.plan?.attempt ?? null, this.outbox.next);
        }
        dialog.close();
        await this.outbox.clear();
        this.halt("withdrawn");
      });
    }
  }

  /** One request to this run: {status, body}, status 0 when there was no proper answer. */
  async function request(path, method) {
    const options = { method, cache: "no-store", signal: AbortSignal.timeout(15_000) };
    if (method === "POST") Object.assign(options, { headers: { "Content-Type": "application/json" }, body: "{}" });
    try {
      const response = await fetch(base + path, options);
      return { status: response.status, body: response.status === 204 ? null : await response.json() };
    } catch {
      return { status: 0, body: null };
    }
  }

  /** Asks until one of these statuses comes back: 0.5 s, then longer, at most 15 s between tries. */
  async function persist(ask, finals, onFailure = () => {}) {
    for (let pause = 500; ; pause = Math.min(15_000, pause * 2)) {
      const answer = await ask();
      if (finals.includes(answer.status)) return answer;
      onFailure();
      const online = new Promise((resolve) => window.addEventListener("online", resolve, { once: true }));
      const later = new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
      await Promise.race([online, later]);
    }
  }

  new Run().start().catch((error) => {
    ScreenPlugin.show(main, "failed");
    throw error;
  });
})();
