// The usual mistakes: a batch of logits and targets -> the loss that each gives, and its gradient in the logits.
import { explain } from "./math.js";

/** @typedef {{ loss: number, grad: number[][] }} Result */
/** @typedef {(logits: number[][], targets: number[]) => Result} Loss */

export const GOOD = [[1, 1.1, 2.5], [1, 3.1, 0.5], [2.1, 0.1, 0.5]];
export const BAD = [[3.2, 0.2, 0.9], [3.2, 0.2, 0.9], [0.2, 3.2, 0.1]];
export const TARGETS = [2, 1, 0];
export const CLASS_WEIGHTS = [1, 1, 3];

/** @param {number[]} row */
export const softmax = (row) => explain({ logits: row }).p;

/** @type {Loss} */
export function right(logits, targets) {
  const rows = logits.map((row, i) => explain({ logits: row, target: targets[i] }));
  const n = logits.length;
  return {
    loss: rows.reduce((total, { loss }) => total + loss, 0) / n,
    grad: rows.map(({ grad }) => grad.map((g) => g / n)),
  };
}

/** Softmax before a loss that contains it. @type {Loss} */
export function twice(logits, targets) {
  const p = logits.map(softmax);
  const { loss, grad } = right(p, targets);
  // Through the first softmax: dz_j = p_j (g_j - sum_k g_k p_k).
  const through = grad.map((g, i) => {
    const mean = g.reduce((total, x, k) => total + x * p[i][k], 0);
    return g.map((x, j) => p[i][j] * (x - mean));
  });
  return { loss, grad: through };
}

/** Softmax over the samples, in place of the classes. @type {Loss} */
export function axis(logits, targets) {
  const n = logits.length;
  const columns = logits[0].map((_, j) => explain({ logits: logits.map((row) => row[j]) }));
  const count = columns.map((_, j) => targets.filter((y) => y === j).length);
  return {
    loss: -targets.reduce((total, y, i) => total + columns[y].logp[i], 0) / n,
    grad: logits.map((row, i) => row.map((_, j) => (count[j] * columns[j].p[i] - Number(targets[i] === j)) / n)),
  };
}

/** The sum of the losses divided by the number of classes, and of samples too. @type {Loss} */
export function classes(logits, targets) {
  const { loss, grad } = right(logits, targets);
  const v = logits[0].length;
  return { loss: loss / v, grad: grad.map((row) => row.map((g) => g / v)) };
}

/** One sample's one-hot row, taken for the class indices of the batch. @type {Loss} */
export function indices(logits, targets) {
  return right(logits, logits[0].map((_, j) => Number(j === targets[0])));
}

/** A mean with class weights, divided by the sum of the samples' weights. @type {Loss} */
export function weighted(logits, targets) {
  return withWeights(logits, targets, targets.reduce((total, y) => total + CLASS_WEIGHTS[y], 0));
}

/** The same over one-hot rows as probabilities: divided by the number of samples. @type {Loss} */
export const oneHot = (logits, targets) => withWeights(logits, targets, logits.length);

/** @param {number[][]} logits @param {number[]} targets @param {number} divisor @returns {Result} */
function withWeights(logits, targets, divisor) {
  const rows = logits.map((row, i) => explain({ logits: row, target: targets[i], weights: CLASS_WEIGHTS }));
  return {
    loss: rows.reduce((total, { loss }) => total + loss, 0) / divisor,
    grad: rows.map(({ grad }) => grad.map((g) => g / divisor)),
  };
}

/**
 * @typedef {object} Mistake
 * @property {string} name
 * @property {string} what what was done
 * @property {string} why what happens
 * @property {string} effect what it does to training
 * @property {string | null} check how `lastlayer.check` names it
 * @property {Loss} wrong
 * @property {Loss} right
 */

/** @type {Record<string, Mistake>} */
export const MISTAKES = {
  twice: {
    name: "Softmax twice",
    what: "The model ends in a softmax, and its output is passed to CrossEntropyLoss, which contains one.",
    why: "The loss takes the probabilities for logits. Two probabilities differ by 1 at most, so with three classes this "
      + "loss stays above log(1 + 2/e) = 0.5514, however good the model is.",
    effect: "The gradient passes through both softmaxes and is too small: the model learns, slowly.",
    check: "probabilities-as-logits", wrong: twice, right,
  },
  axis: {
    name: "The wrong axis",
    what: "Softmax is taken over dim=0, the samples, in place of dim=1, the classes.",
    why: "Each column sums to 1, and no row does. The numbers look like probabilities, and the samples of a batch compete "
      + "with each other.",
    effect: "The loss of a sample depends on the rest of the batch. It never nears 0: samples of one class share 1.",
    check: "class-axis", wrong: axis, right,
  },
  classes: {
    name: "Mean over classes",
    what: "The loss is np.mean over all entries of -t log p, so the sum is divided by the number of classes as well.",
    why: "A mean loss is divided by the number of samples. Divided by the classes too, it is smaller by that factor, and "
      + "cannot be compared with log V or with other losses.",
    effect: "Every gradient is divided by the number of classes: the learning rate is smaller than the one that was set.",
    check: null, wrong: classes, right,
  },
  indices: {
    name: "One-hot row as indices",
    what: "One sample's one-hot row is passed as the targets of a batch that has as many samples as classes.",
    why: "Its entries are taken for class indices: 0 for the first sample, and so on. Nothing is raised.",
    effect: "The model learns the wrong classes: the loss of the true classes rises.",
    check: "worse-than-uniform", wrong: indices, right,
  },
  onehot: {
    name: "One-hot targets with class weights",
    what: "Targets are one_hot(y).float() where there are class weights, here 1, 1 and 3.",
    why: "Over class indices, a weighted mean is divided by the sum of the samples' weights; over probabilities, by the "
      + "number of samples.",
    effect: "The gradient is larger by the mean weight of the samples: another learning rate than the one that was set.",
    check: "one-hot-targets", wrong: oneHot, right: weighted,
  },
};
