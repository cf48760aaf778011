// Colours of outlines: contrast to tissue, and distance for eyes without red or green cones.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { root } from "./harness.mjs";

const source = readFileSync(join(root, "web/palettes.js"));
const { PALETTES } = await import(`data:text/javascript;base64,${source.toString("base64")}`);

/** Colours of H&E tissue: nuclei, cytoplasm, collagen, red blood cells, glass. */
const TISSUE = {
  "dense chromatin": "#352450",
  nucleus: "#5e4585",
  "pale nucleus": "#8d74ae",
  cytoplasm: "#c99bc4",
  collagen: "#e3a9c8",
  "pale collagen": "#f0d5e3",
  "red blood cells": "#c2404f",
  glass: "#f5f3f6",
};
/** Simulation of Machado, Oliveira & Fernandes (2009) at full severity, on linear RGB. */
const VISION = {
  usual: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
};
/** WCAG 2 contrast of graphics. */
const MIN_CONTRAST = 3;
const MIN_DELTA_E = 20;

/** Linear RGB, 0 to 1, of a colour in hexadecimal. */
function linear(hex) {
  return [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
}

function luminance(hex) {
  const [red, green, blue] = linear(hex);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

/** CIELAB of a colour as an eye sees it. */
function lab(hex, matrix) {
  const rgb = linear(hex);
  const [red, green, blue] = matrix.map((row) => {
    const value = row.reduce((sum, weight, i) => sum + weight * rgb[i], 0);
    return Math.min(1, Math.max(0, value));
  });
  const xyz = [
    (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
    0.2126 * red + 0.7152 * green + 0.0722 * blue,
    (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
  ];
  const [x, y, z] = xyz.map((t) => (t > 216 / 24389 ? Math.cbrt(t) : t * (841 / 108) + 4 / 29));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** CIE 1976. */
function deltaE(a, b, matrix) {
  const [first, second] = [lab(a, matrix), lab(b, matrix)];
  return Math.hypot(...first.map((value, i) => value - second[i]));
}

test("every line stands out from its casing, and one of the two from any tissue", () => {
  for (const [name, palette] of Object.entries(PALETTES)) {
    for (const use of ["model", "added", "rejected"]) {
      assert.ok(contrast(palette[use], palette.casing) >= 7, `${name}: ${use} on its casing`);
      for (const [tissue, colour] of Object.entries(TISSUE)) {
        const best = Math.max(contrast(palette[use], colour), contrast(palette.casing, colour));
        assert.ok(best >= MIN_CONTRAST, `${name}: ${use} on ${tissue}: ${best.toFixed(2)}`);
      }
    }
  }
});

test("the colours of a palette differ for every kind of colour vision", () => {
  const pairs = [
    ["model", "added"],
    ["model", "rejected"],
    ["added", "rejected"],
  ];
  for (const [name, palette] of Object.entries(PALETTES)) {
    for (const [vision, matrix] of Object.entries(VISION)) {
      for (const [a, b] of pairs) {
        const distance = deltaE(palette[a], palette[b], matrix);
        const what = `${name}, ${vision}: ${a} and ${b} ${distance.toFixed(1)}`;
        assert.ok(distance >= MIN_DELTA_E, what);
      }
    }
  }
});
