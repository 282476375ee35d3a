"use strict";

/**
 * Answers on their way to the server: written down in the browser first, then sent one at a time and in order, for as
 * long as it takes. An answer leaves the outbox only on an acknowledgement that names its row.
 */
const Outbox = (() => {
  const STORAGE_MS = 3_000; // browsers have been known never to answer

  /** The answers of one run in IndexedDB. Where that fails (private windows, a full disk) memory alone has to do. */
  class Shelf {
    static async open(run) {
      const shelf = new Shelf(run);
      try {
        const request = indexedDB.open("answers", 1);
        request.onupgradeneeded = () => request.result.createObjectStore("answers", { keyPath: ["run", "index"] });
        shelf.database = await Promise.race([settled(request), tooLong(STORAGE_MS)]);
      } catch {
        shelf.database = null;
      }
      return shelf;
    }

    constructor(run) {
      this.run = run;
    }

    all() {
      return this.attempt([], () => settled(this.transaction("readonly").objectStore("answers").getAll(this.range())));
    }

    put(entry) {
      return this.write((store) => store.put({ ...entry, run: this.run }));
    }

    remove(index) {
      return this.write((store) => store.delete([this.run, index]));
    }

    clear() {
      return this.write((store) => store.delete(this.range()));
    }

    range() {
      return IDBKeyRange.bound([this.run, 0], [this.run, Infinity]);
    }

    transaction(mode) {
      return this.database.transaction("answers", mode);
    }

    write(change) {
      return this.attempt(undefined, () => {
        const transaction = this.transaction("readwrite");
        change(transaction.objectStore("answers"));
        return committed(transaction);
      });
    }

    async attempt(otherwise, work) {
      if (!this.database) return otherwise;
      try {
        return await Promise.race([work(), tooLong(STORAGE_MS)]);
      } catch {
        this.database = null;
        return otherwise;
      }
    }
  }

  class Outbox extends EventTarget {
    /**
     * Events: "change" after every answer added or stored; "outoforder" when the server wants another trial first;
     * "stop" with detail "superseded", "over" or "failed", after which nothing more is sent.
     *
     * @param {string} base address of the run, ending in a slash
     */
    static async open(base) {
      const outbox = new Outbox(base, await Shelf.open(base));
      const kept = (await outbox.shelf.all()).sort((a, b) => a.index - b.index);
      outbox.entries = kept.filter((entry) => !entry.refused);
      outbox.refused = kept.filter((entry) => entry.refused);
      return outbox;
    }

    constructor(base, shelf) {
      super();
      this.base = base;
      this.shelf = shelf;
      this.entries = [];
      this.refused = [];
      this.attempt = null;
      this.next = 0;
      this.waiting = new Map();
      this.failures = 0;
      this.stopped = false;
      const wake = () => this.wake();
      window.addEventListener("online", wake);
      window.addEventListener("pagehide", wake);
      document.addEventListener("visibilitychange", wake);
    }

    get size() {
      return this.entries.length;
    }

    /** The answers the server does not have, in order, those it refused among them: for a file that can be imported. */
    get unsent() {
      const all = [...this.refused, ...this.entries].sort((a, b) => a.index - b.index);
      return all.map(({ index, answer }) => ({ index, ...answer }));
    }

    /** Whether the first answer may be sent: the server takes them in order, a gap has to be filled first. */
    get ready() {
      return !this.stopped && this.attempt !== null && this.size > 0 && this.entries[0].index <= this.next;
    }

    /** Whether the last try to send failed. */
    get failing() {
      return this.failures > 0;
    }

    holds(index) {
      return this.entries.some((entry) => entry.index === index);
    }

    /** Starts sending, as this attempt (page load) of the run; `next` is the first trial the server has no answer to. */
    start(attempt, next) {
      this.attempt = attempt;
      this.next = next;
      this.wake();
    }

    /** Sends nothing until the next start. */
    pause() {
      this.attempt = null;
    }

    /** Keeps an answer; resolves when the browser has written it down, before the server has it. */
    async add(index, answer) {
      if (this.stopped) return;
      const entry = { index, answer: { client_id: uuid(), ...answer }, created_at: new Date().toISOString() };
      await this.shelf.put(entry);
      this.refused = this.refused.filter((other) => other.index !== index); // answered anew
      this.entries.push(entry);
      this.entries.sort((a, b) => a.index - b.index);
      this.changed();
      this.wake();
    }

    /** The server's acknowledgement of the answer to this trial. */
    acknowledged(index) {
      return new Promise((resolve) => this.waiting.set(index, resolve));
    }

    /** Resolves when every answer is stored. */
    async drained() {
      while (this.size) await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
    }

    async clear() {
      this.stopped = true;
      this.entries = [];
      this.refused = [];
      await this.shelf.clear();
    }

    /** Ends the pause between two tries; without effect while a request is in flight. */
    wake() {
      clearTimeout(this.timer);
      if (!this.sending && this.ready) this.sendAll();
    }

    async sendAll() {
      this.sending = true;
      try {
        while (this.ready && (await this.sendFirst()));
      } finally {
        this.sending = false;
      }
      if (this.ready) this.timer = setTimeout(() => this.wake(), Requests.pause(this.failures));
    }

    /** One request. True when the first answer is stored and the next may follow. */
    async sendFirst() {
      const entry = this.entries[0];
      const { trace } = entry.answer;
      const content = { ...entry.answer, attempt: this.attempt };
      if (this.failures) content.trace = { ...trace, failed_saves: this.failures };
      const options = { keepalive: true }; // a request under way survives the page
      const { status, body } = await Requests.send(`${this.base}trials/${entry.index}`, "PUT", content, options);
      if (this.stopped || this.attempt === null) return false; // whatever it says: sending it again does no harm
      if ((status === 200 || status === 201) && body?.id !== undefined) return this.settle(entry, body);
      if (status === 409 && body?.error === "different_answer") return this.settle(entry, body);
      if (status === 409 && body?.error === "superseded") return this.stop("superseded");
      if (status === 404 || status === 410) return this.stop("over");
      if (status === 400 || status === 403 || status === 413 || status === 422) return this.refuse(entry, status);
      this.failures += 1;
      if (status === 425) this.dispatchEvent(new CustomEvent("outoforder", { detail: entry.index }));
      this.changed();
      return false;
    }

    async settle(entry, body) {
      this.failures = 0;
      this.next = Math.max(this.next, body.next_index ?? entry.index + 1); // it may pass over trials
      this.entries = this.entries.filter((other) => other !== entry);
      this.waiting.get(entry.index)?.(body);
      this.waiting.delete(entry.index);
      await this.shelf.remove(entry.index);
      this.changed();
      return true;
    }

    /** The server will never take this answer: it is set aside, and its trial can be answered anew after a reload. */
    async refuse(entry, status) {
      this.refused.push(entry);
      this.entries = this.entries.filter((other) => other !== entry);
      await this.shelf.put({ ...entry, refused: status });
      return this.stop("failed");
    }

    stop(reason) {
      this.stopped = true;
      this.dispatchEvent(new CustomEvent("stop", { detail: reason }));
      return false;
    }

    changed() {
      this.dispatchEvent(new Event("change"));
    }
  }

  function settled(request) {
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  /** A write is kept when its transaction is complete, not when its request succeeds. */
  function committed(transaction) {
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }

  function tooLong(ms) {
    return new Promise((resolve, reject) => setTimeout(() => reject(new Error("too long")), ms));
  }

  /** crypto.randomUUID exists in secure contexts only. */
  function uuid() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return [...bytes].map((byte, i) => ([4, 6, 8, 10].includes(i) ? "-" : "") + byte.toString(16).padStart(2, "0")).join("");
  }

  return Outbox;
})();
