"use strict";

/**
 * Phase scrambling: a picture with the amplitude spectrum and the mean of another, and nothing of what it shows.
 *
 * Every frequency is turned by a random angle, the same in the three colour channels. The work depends on the size
 * alone, not on what is in the picture.
 */
const Mask = (() => {
  const CHANNELS = [0, 1, 2];

  /** A canvas of the picture's size. Sizes that are no power of two are filled up with the picture, repeated. */
  function scramble(picture) {
    const width = powerOfTwo(picture.width);
    const height = powerOfTwo(picture.height);
    const { context, pixels } = tiled(picture, width, height);
    const turn = randomPhases(width, height);
    for (const channel of CHANNELS) {
      const wave = spectrum(width, height, (i) => pixels.data[4 * i + channel]);
      multiply(wave, turn);
      const real = inverse(wave);
      for (let i = 0; i < real.length; i += 1) pixels.data[4 * i + channel] = real[i];
    }
    context.putImageData(pixels, 0, 0);
    return cropped(context.canvas, picture);
  }

  const powerOfTwo = (n) => 2 ** Math.ceil(Math.log2(n));

  function canvas(width, height) {
    const node = Object.assign(document.createElement("canvas"), { width, height });
    return node.getContext("2d", { alpha: false, colorSpace: "srgb", willReadFrequently: true });
  }

  function tiled(picture, width, height) {
    const context = canvas(width, height);
    context.fillStyle = context.createPattern(picture, "repeat");
    context.fillRect(0, 0, width, height);
    return { context, pixels: context.getImageData(0, 0, width, height) };
  }

  function cropped(source, { width, height }) {
    const context = canvas(width, height);
    context.drawImage(source, 0, 0);
    return context.canvas;
  }

  /** Numbers of modulus 1, symmetric as the spectrum of a real picture is: white noise, its amplitudes made equal. */
  function randomPhases(width, height) {
    const { re, im, ...size } = spectrum(width, height, () => Math.random() - 0.5);
    for (let i = 0; i < re.length; i += 1) {
      const modulus = Math.hypot(re[i], im[i]) || 1;
      re[i] /= modulus;
      im[i] /= modulus;
    }
    [re[0], im[0]] = [1, 0]; // the mean stays
    return { re, im, ...size };
  }

  function multiply(wave, turn) {
    for (let i = 0; i < wave.re.length; i += 1) {
      const a = wave.re[i];
      const b = wave.im[i];
      wave.re[i] = a * turn.re[i] - b * turn.im[i];
      wave.im[i] = a * turn.im[i] + b * turn.re[i];
    }
  }

  /** The two-dimensional spectrum of width × height real values. */
  function spectrum(width, height, value) {
    const wave = { width, height, re: Float64Array.from({ length: width * height }, (_, i) => value(i)) };
    wave.im = new Float64Array(wave.re.length);
    transform(wave, -1);
    return wave;
  }

  /** The real values of a spectrum. */
  function inverse(wave) {
    transform(wave, 1);
    return wave.re.map((value) => value / wave.re.length);
  }

  function transform({ re, im, width, height }, sign) {
    for (let y = 0; y < height; y += 1) fft(re, im, y * width, 1, width, sign);
    for (let x = 0; x < width; x += 1) fft(re, im, x, width, height, sign);
  }

  /** Cooley and Tukey's transform, in place, of n = 2^m values that lie `stride` apart. */
  function fft(re, im, start, stride, n, sign) {
    for (let i = 1, j = 0; i < n; i += 1) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) swap(re, im, start + i * stride, start + j * stride);
    }
    for (let length = 2; length <= n; length *= 2) {
      for (let k = 0; k < length / 2; k += 1) {
        const angle = (sign * 2 * Math.PI * k) / length;
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        for (let i = k; i < n; i += length) {
          const a = start + i * stride;
          const b = a + (length / 2) * stride;
          const x = re[b] * c - im[b] * s;
          const y = re[b] * s + im[b] * c;
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
  }

  function swap(re, im, a, b) {
    [re[a], re[b]] = [re[b], re[a]];
    [im[a], im[b]] = [im[b], im[a]];
  }

  return { scramble };
})();
