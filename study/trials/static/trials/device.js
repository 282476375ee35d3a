"use strict";

/** The device a run is shown on: what it is, how much room it gives the images, and what stands in the way. */
const Device = (() => {
  const PINCHED = 1.01;
  const PHONE = 600; // CSS px: the shorter side of a phone's screen is below it

  /** "computer", "phone" or "tablet". What is worked by touch first is told apart by the size of its screen. */
  function kind() {
    const touch = navigator.maxTouchPoints > 0 && matchMedia("(pointer: coarse)").matches;
    if (!touch) return "computer";
    return Math.min(screen.width, screen.height) < PHONE ? "phone" : "tablet";
  }

  /** The widest colour gamut the screen claims: "srgb", "p3", "rec2020" or "unknown". */
  function gamut() {
    return ["rec2020", "p3", "srgb"].find((name) => matchMedia(`(color-gamut: ${name})`).matches) ?? "unknown";
  }

  /** What is stored about the device: plain values, nothing that names a person or a browser. */
  function describe() {
    return {
      device: kind(),
      device_pixel_ratio: window.devicePixelRatio,
      viewport_scale: window.visualViewport?.scale ?? 1,
      window: `${window.innerWidth}x${window.innerHeight}`,
      screen: `${screen.width}x${screen.height}`,
      gamut: gamut(),
      high_dynamic_range: matchMedia("(dynamic-range: high)").matches,
      touch_points: navigator.maxTouchPoints,
    };
  }

  /** The window without scroll bars, CSS px; pinch zoom and a phone's moving address bar leave it as it is. */
  function windowSize() {
    const { clientWidth, clientHeight } = document.documentElement;
    return { width: clientWidth, height: clientHeight };
  }

  /** A length that the stylesheet gives in rem, as CSS px. */
  function length(name) {
    const style = getComputedStyle(document.documentElement);
    return parseFloat(style.getPropertyValue(name)) * parseFloat(style.fontSize);
  }

  /** A protocol's columns and rows, and the CSS px around and between them that no image can have. */
  function layout(protocol) {
    const { columns, rows } = Protocols[protocol];
    const margin = length("--stage-margin");
    const across = (columns - 1) * length("--stage-gap") + 2 * margin;
    return { columns, rows, across, down: (rows - 1) * margin + length("--stage-below") };
  }

  /** The largest width and height, CSS px, that each of a protocol's images may have in a window of this size. */
  function room(protocol, size = windowSize()) {
    const { columns, rows, across, down } = layout(protocol);
    return { width: (size.width - across) / columns, height: (size.height - down) / rows };
  }

  /** The largest whole number of device pixels per image pixel that fits; 0 when not even one does. */
  function largestScale({ protocol, image }, size = windowSize()) {
    const { width, height } = room(protocol, size);
    const ratio = window.devicePixelRatio;
    return Math.max(0, Math.floor(Math.min((width * ratio) / image.width, (height * ratio) / image.height)));
  }

  /** The smallest window, CSS px, in which the images fit at this scale. */
  function neededSize({ protocol, image }, scale) {
    const { columns, rows, across, down } = layout(protocol);
    const zoom = scale / window.devicePixelRatio;
    return {
      width: Math.ceil(columns * image.width * zoom + across),
      height: Math.ceil(rows * image.height * zoom + down),
    };
  }

  /** The window after turning a phone or a tablet; browsers disagree on whether `screen` turns with it. */
  function turnedSize() {
    const { width, height } = windowSize();
    const [short, long] = [screen.width, screen.height].sort((a, b) => a - b);
    const upright = height >= width;
    const bars = (upright ? long : short) - height;
    return { width: upright ? long : short, height: (upright ? short : long) - bars };
  }

  /** What to do about a window that is too small: "turn", "enlarge", or null when this screen cannot do it. */
  function cure(plan, scale) {
    if (kind() !== "computer") return largestScale(plan, turnedSize()) >= scale ? "turn" : null;
    const whole = { width: screen.availWidth, height: screen.availHeight };
    return largestScale(plan, whole) >= scale ? "enlarge" : null;
  }

  /**
   * What keeps this device from showing the study, or null.
   *
   * @param {object} plan phones, tablets (are they allowed?), protocol, image {width, height} as served
   * @param {?number} scale device pixels per image pixel; null while it is not known: then the room is not looked at
   * @returns {?{name: string}} "phone" or "tablet" (not allowed), "zoom" (pinched), or "window" (too small, with the
   *   present and the needed {width, height} in CSS px, and the cure)
   */
  function problem(plan, scale) {
    const device = kind();
    if (device === "phone" && !plan.phones) return { name: "phone" };
    if (device === "tablet" && !plan.tablets) return { name: "tablet" };
    if (window.visualViewport?.scale > PINCHED) return { name: "zoom" };
    if (scale === null || largestScale(plan) >= scale) return null;
    return { name: "window", present: windowSize(), needed: neededSize(plan, scale), cure: cure(plan, scale) };
  }

  return { kind, describe, largestScale, problem };
})();
