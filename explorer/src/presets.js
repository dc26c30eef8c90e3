// The worked numbers of docs/worked, as states of the page.

/** @typedef {import("./state.js").State} State */

/** @param {number[]} logits @param {number} target */
const row = (logits, target) => ({ view: "row", part: { logits, target } });
/** @param {number[]} p @param {number} target */
const probabilities = (p, target) => row(p.map(Math.log), target);
/** @param {number[]} logits @param {number} target */
const numbers = (logits, target) => ({ view: "numbers", part: { logits, target } });
/** @param {string} which @param {string} batch */
const mistakes = (which, batch) => ({ view: "mistakes", part: { which, batch } });

/** @type {[string, [string, { view: string, part: object }][]][]} */
export const PRESETS = [
  ["Probabilities", [
    ["0.1, 0.9, 4.0", row([0.1, 0.9, 4], 2)],
    ["0.1, 0.9, 3.0: what a tutorial printed for 4.0", row([0.1, 0.9, 3], 2)],
    ["2.0, 1.0, 0.1: to check by hand", row([2, 1, 0.1], 0)],
    ["102.0, 101.0, 100.1: the same, shifted", row([102, 101, 100.1], 0)],
    ["1000, 1001, 1002: stable", row([1000, 1001, 1002], 2)],
    ["1000, 1001, 1002: the textbook formula", numbers([1000, 1001, 1002], 2)],
  ]],
  ["From probabilities to a loss", [
    ["0.1, 0.1, 0.8, class 2: 0.22314355", probabilities([0.1, 0.1, 0.8], 2)],
    ["0.8, 0.1, 0.1, class 2: 2.30258509", probabilities([0.8, 0.1, 0.1], 2)],
    ["the same divided by the number of classes", mistakes("classes", "good")],
    ["0.7, 0.2, 0.1, class 0: 0.35667494", probabilities([0.7, 0.2, 0.1], 0)],
    ["0.1, 0.3, 0.7, class 0: they add up to 1.1", probabilities([0.1, 0.3, 0.7], 0)],
  ]],
  ["From logits to a loss", [
    ["1.0, 1.1, 2.5, class 2: 0.3850768", row([1, 1.1, 2.5], 2)],
    ["3.2, 0.2, 0.9, class 2: 2.4398019", row([3.2, 0.2, 0.9], 2)],
    ["1.0, 3.1, 0.5, class 1", row([1, 3.1, 0.5], 1)],
    ["2.1, 0.1, 0.5, class 0", row([2.1, 0.1, 0.5], 0)],
    ["3.2, 0.2, 0.9, class 1", row([3.2, 0.2, 0.9], 1)],
    ["0.2, 3.2, 0.1, class 0", row([0.2, 3.2, 0.1], 0)],
    ["0, 20, class 1: 2.061154e-09", row([0, 20], 1)],
    ["0, 20, class 1: 0 by the textbook formula", numbers([0, 20], 1)],
    ["0.1, 0.9, 4.0, class 1: the gradient", row([0.1, 0.9, 4], 1)],
  ]],
  ["Batches and mistakes", [
    ["softmax first: 0.7254601 for 0.2850904", mistakes("twice", "good")],
    ["softmax first: 1.4545170 for 2.8900697", mistakes("twice", "bad")],
    ["softmax over the other axis", mistakes("axis", "good")],
    ["one-hot targets with class weights: 0.5418083 for 0.3250850", mistakes("onehot", "good")],
    ["one-hot row for a batch: 2.1517570 for 0.2850904", mistakes("indices", "good")],
  ]],
];
