// The state of the page <-> the part of its address after "#".
//
// An address holds the view and every value that is not its default. Values that cannot be are left out.

import { MISTAKES } from "./mistakes.js";
import { QUESTIONS } from "./questions.js";
import { SETS } from "./training.js";

/**
 * @typedef {import("./math.js").Row & {
 *   target: number, dense: number[] | null, temperature: number, softcap: number | null,
 *   smoothing: number, weights: number[] | null,
 * }} RowState
 * @typedef {object} State
 * @property {string} view
 * @property {RowState} row
 * @property {{ logits: number[], target: number }} numbers
 * @property {{ which: string, batch: string }} mistakes
 * @property {TrainingState} training
 * @property {{ number: number }} question
 *
 * Points and weights are null where they are those of the set, and 0; the losses so far are not in the address.
 * @typedef {object} TrainingState
 * @property {string} set
 * @property {import("./training.js").Point[] | null} points
 * @property {boolean} product whether x1 x2 is a feature
 * @property {number} rate
 * @property {number} step
 * @property {number[][] | null} weights
 * @property {[number, number][] | null} history steps and losses
 */

export const VIEWS = /** @type {const} */ (["row", "numbers", "mistakes", "training", "questions"]);
export const MOST_CLASSES = 10;

/** @returns {State} */
export function initial() {
  return {
    view: "row",
    row: {
      logits: [0.1, 0.9, 4], target: 2, dense: null, temperature: 1, softcap: null, smoothing: 0, weights: null,
    },
    numbers: { logits: [0, 20], target: 1 },
    mistakes: { which: "twice", batch: "good" },
    training: { set: "three", points: null, product: false, rate: 1, step: 0, weights: null, history: null },
    question: { number: 1 },
  };
}

/** @typedef {(value: unknown) => boolean} Check */
/** @type {Check} */
const isNumber = (x) => typeof x === "number" && !Number.isNaN(x);
/** @type {Check} */
const isFinite = (x) => Number.isFinite(x);
/** @type {Check} */
const isPositive = (x) => Number.isFinite(x) && Number(x) > 0;
/** @type {Check} */
const isShare = (x) => Number.isFinite(x) && Number(x) >= 0 && Number(x) <= 1;
/** @type {Check} */
const isAmount = (x) => Number.isFinite(x) && Number(x) >= 0;

/** @param {Check} one */
const listOf = (one) => ({
  /** @param {string} word */
  read: (word) => {
    const values = word.split(",").map((part) => (part.trim() === "" ? NaN : Number(part)));
    return values.length <= MOST_CLASSES && values.every(one) ? values : undefined;
  },
  /** @param {number[]} values */
  write: (values) => values.map(String).join(","),
});

/** @param {Check} one */
const numberOf = (one) => ({
  /** @param {string} word */
  read: (word) => (word.trim() !== "" && one(Number(word)) ? Number(word) : undefined),
  /** @param {number} value */
  write: (value) => String(value),
});

/** @param {readonly string[]} words */
const oneOf = (words) => ({
  /** @param {string} word */
  read: (word) => (words.includes(word) ? word : undefined),
  /** @param {string} word */
  write: (word) => word,
});

const flag = {
  /** @param {string} word */
  read: (word) => word === "1",
  /** @param {boolean} value */
  write: (value) => (value ? "1" : "0"),
};

/** Points as class:x:y. */
const pointList = {
  /** @param {string} word */
  read: (word) => {
    const points = word.split(",").slice(0, 150).map((part) => part.split(":").map(Number));
    const good = points.every((one) => one.length === 3 && Number.isInteger(one[0]) && one.slice(1).every((v) => Math.abs(v) <= 3));
    return good ? points.map(([k, x, y]) => ({ x, y, k })) : undefined;
  },
  /** @param {import("./training.js").Point[]} points */
  write: (points) => points.map(({ x, y, k }) => `${k}:${x}:${y}`).join(","),
};

/** Weights, a class after the other. */
const matrix = {
  /** @param {string} word */
  read: (word) => {
    const rows = word.split(";").map((row) => row.split(",").map(Number));
    return rows.every((row) => row.every(Number.isFinite)) ? rows : undefined;
  },
  /** @param {number[][]} rows */
  write: (rows) => rows.map((row) => row.join(",")).join(";"),
};

/** The name of each value in an address, where it stands in the state, and how it is read and written. */
const FIELDS = /** @type {[string, string, string, any][]} */ ([
  ["z", "row", "logits", listOf(isNumber)],
  ["y", "row", "target", numberOf(Number.isInteger)],
  ["q", "row", "dense", listOf(isAmount)],
  ["T", "row", "temperature", numberOf(isPositive)],
  ["cap", "row", "softcap", numberOf(isPositive)],
  ["eps", "row", "smoothing", numberOf(isShare)],
  ["w", "row", "weights", listOf(isAmount)],
  ["nz", "numbers", "logits", listOf(isFinite)],
  ["ny", "numbers", "target", numberOf(Number.isInteger)],
  ["m", "mistakes", "which", oneOf(Object.keys(MISTAKES))],
  ["batch", "mistakes", "batch", oneOf(["good", "bad"])],
  ["set", "training", "set", oneOf(Object.keys(SETS))],
  ["points", "training", "points", pointList],
  ["product", "training", "product", flag],
  ["rate", "training", "rate", numberOf(isPositive)],
  ["step", "training", "step", numberOf((x) => Number.isInteger(x) && Number(x) >= 0)],
  ["weights", "training", "weights", matrix],
  ["question", "question", "number", numberOf((x) => Number.isInteger(x) && Number(x) >= 1 && Number(x) <= QUESTIONS.length)],
]);

/**
 * @param {State} state
 * @returns {string}
 */
export function toHash(state) {
  const parts = [`view=${state.view}`];
  const usual = /** @type {any} */ (initial());
  for (const [name, group, key, { write }] of FIELDS) {
    const value = /** @type {any} */ (state)[group][key];
    if (value === null || value === undefined) continue;
    const word = write(value);
    if (usual[group][key] === null || write(usual[group][key]) !== word) parts.push(`${name}=${word}`);
  }
  return `#${parts.join("&")}`;
}

/**
 * @param {string} hash
 * @returns {State}
 */
export function fromHash(hash) {
  const state = initial();
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const view = words.get("view");
  if (view && /** @type {readonly string[]} */ (VIEWS).includes(view)) state.view = view;
  for (const [name, group, key, { read }] of FIELDS) {
    const value = words.has(name) ? read(words.get(name)) : undefined;
    if (value !== undefined) /** @type {any} */ (state)[group][key] = value;
  }
  return consistent(state);
}

/**
 * Targets and lists that fit the number of classes.
 * @param {State} state
 */
function consistent(state) {
  for (const part of [state.row, state.numbers]) {
    if (!(part.target >= 0 && part.target < part.logits.length)) part.target = 0;
  }
  const size = state.row.logits.length;
  if (state.row.dense && state.row.dense.length !== size) state.row.dense = null;
  if (state.row.weights && state.row.weights.length !== size) state.row.weights = null;
  const { classes } = SETS[state.training.set];
  const { points, weights, product } = state.training;
  if (points && !points.every(({ k }) => k >= 0 && k < classes)) state.training.points = null;
  const wide = product ? 4 : 3;
  if (weights && !(weights.length === classes && weights.every((row) => row.length === wide))) state.training.weights = null;
  if (!state.training.weights) state.training.step = 0;
  return state;
}
