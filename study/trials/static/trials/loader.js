"use strict";

/**
 * Fetches every image of a run before its first trial, so that no trial waits for the network.
 *
 * At most six requests in flight; 15 s and three more tries for each, unless the server refuses; the SHA-256 of the
 * bytes is compared with the Repr-Digest header where the browser offers crypto.subtle (secure contexts and localhost);
 * kept as decoded bitmaps.
 */
const ImageLoader = (() => {
  const IN_FLIGHT = 6;
  const TIMEOUT_MS = 15_000;
  const RETRIES = 3;
  const FINAL = [403, 404, 410]; // these images will not come, however often one asks
  const SIDES = ["left", "right"];

  /** An image that did not arrive. `final`: asking again is no use; `status` says why. */
  class ImageError extends Error {
    constructor(name, status) {
      super(`image ${name}: status ${status}`);
      this.status = status;
      this.final = FINAL.includes(status);
    }
  }

  class ImageLoader {
    /**
     * @param {string} base address of the run, ending in a slash
     * @param {(loaded: number, total: number) => void} onProgress
     */
    constructor(base, onProgress = () => {}) {
      this.base = base;
      this.onProgress = onProgress;
      this.bitmaps = new Map();
    }

    /** Loads both images of these trials, in the order in which they will be shown; keeps what it has on a failure. */
    async load(indices) {
      const wanted = indices.flatMap((index) => SIDES.map((side) => `${index}/${side}`));
      const queue = wanted.filter((name) => !this.bitmaps.has(name));
      const report = () => this.onProgress(wanted.filter((name) => this.bitmaps.has(name)).length, wanted.length);
      const worker = async () => {
        for (let name = queue.shift(); name; name = queue.shift()) {
          this.bitmaps.set(name, await this.fetchPatiently(name));
          report();
        }
      };
      report();
      try {
        await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
      } finally {
        queue.length = 0; // after a failure the other workers stop too
      }
    }

    /** Both bitmaps of a trial. */
    pair(index) {
      const [left, right] = SIDES.map((side) => this.bitmaps.get(`${index}/${side}`));
      return { left, right };
    }

    /** Frees the memory of a trial's bitmaps. */
    release(index) {
      for (const side of SIDES) {
        this.bitmaps.get(`${index}/${side}`)?.close();
        this.bitmaps.delete(`${index}/${side}`);
      }
    }

    async fetchPatiently(name) {
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await this.fetchOnce(name);
        } catch (error) {
          if (error.final || attempt === RETRIES) throw error;
          await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt * (0.5 + Math.random())));
        }
      }
    }

    async fetchOnce(name) {
      const response = await fetch(`${this.base}i/${name}`, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) throw new ImageError(name, response.status);
      const blob = await response.blob();
      await verify(blob, response.headers.get("Repr-Digest"), name);
      return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    }
  }

  /** Throws when the bytes are not those the server sent. */
  async function verify(blob, header, name) {
    const expected = header?.match(/sha-256=:([^:]+):/)?.[1];
    if (!expected || !globalThis.crypto?.subtle) return;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
    if (btoa(String.fromCharCode(...digest)) !== expected) throw new Error(`image ${name}: damaged on the way`);
  }

  return ImageLoader;
})();
