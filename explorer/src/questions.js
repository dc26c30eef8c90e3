// Short predictions: a row before and after a change, and answers of which the numbers say which is right.
import { explain, sigmoid } from "./math.js";

/**
 * @typedef {import("./math.js").Row} Row
 * @typedef {ReturnType<typeof explain>} Found
 * @typedef {object} Question
 * @property {string} text
 * @property {Row} before
 * @property {Row} after the same as before where nothing changes but the question
 * @property {[string, (before: Found, after: Found) => boolean][]} answers each with what the numbers must show
 * @property {string} why
 * @property {"p" | "loss" | "gradient"} look what to look at
 */

const near = (/** @type {number} */ a, /** @type {number} */ b) => Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(b));
const row = (/** @type {number[]} */ logits, target = 0, /** @type {Partial<Row>} */ options = {}) => ({ logits, target, ...options });
const same = (/** @type {Found} */ b, /** @type {Found} */ a) => b.p.every((p, k) => near(a.p[k], p));

/** @type {Question[]} */
export const QUESTIONS = [
  {
    text: "The temperature is doubled, from 1 to 2. What happens to the probabilities?",
    before: row([0.1, 0.9, 4], 2), after: row([0.1, 0.9, 4], 2, { temperature: 2 }), look: "p",
    answers: [
      ["They get flatter.", (b, a) => a.entropy > b.entropy + 1e-6],
      ["They get sharper.", (b, a) => a.entropy < b.entropy - 1e-6],
      ["They stay the same.", same],
    ],
    why: "Logits are divided by the temperature, so their differences halve, and only differences count.",
  },
  {
    text: "100 is added to every logit. What happens to the probabilities?",
    before: row([2, 1, 0.1]), after: row([102, 101, 100.1]), look: "p",
    answers: [
      ["The largest grows.", (b, a) => a.p[0] > b.p[0] + 1e-6],
      ["They stay the same.", same],
      ["They get flatter.", (b, a) => a.entropy > b.entropy + 1e-6],
    ],
    why: "exp(100) is a factor of every exponential, and cancels in the ratio.",
  },
  {
    text: "Every logit is multiplied by 3. What happens to the largest probability?",
    before: row([2, 1, 0.1]), after: row([6, 3, 0.3]), look: "p",
    answers: [
      ["It grows.", (b, a) => a.p[0] > b.p[0] + 1e-6],
      ["It shrinks.", (b, a) => a.p[0] < b.p[0] - 1e-6],
      ["It stays the same.", same],
    ],
    why: "Differences grow by the factor 3, as with a temperature of 1/3.",
  },
  {
    text: "Three logits are all 5. What is the loss, whichever class is the target?",
    before: row([5, 5, 5], 1), after: row([5, 5, 5], 1), look: "loss",
    answers: [
      ["0", (_, a) => near(a.loss, 0)],
      ["log 3 = 1.0986", (_, a) => near(a.loss, Math.log(3))],
      ["5", (_, a) => near(a.loss, 5)],
    ],
    why: "Equal logits give each class 1/3, and -log(1/3) = log 3: the loss of a model that knows nothing.",
  },
  {
    text: "The model is badly wrong: the target, class 0, is 8 below the peak. Its logit is raised by 1. By how much does the loss fall?",
    before: row([0, 0, 8]), after: row([1, 0, 8]), look: "loss",
    answers: [
      ["Almost not at all", (b, a) => b.loss - a.loss < 0.1],
      ["By about a half", (b, a) => Math.abs(b.loss - a.loss - 0.5) < 0.1],
      ["By about 1", (b, a) => Math.abs(b.loss - a.loss - 1) < 0.1],
    ],
    why: "The gradient of the target's logit is p - 1, here nearly -1: the loss falls as fast as the logit rises.",
  },
  {
    text: "The model is right and sure: the target, class 2, is 9 above the others. Its logit is raised by 1. By how much does the loss fall?",
    before: row([0, 0, 9], 2), after: row([0, 0, 10], 2), look: "loss",
    answers: [
      ["Almost not at all", (b, a) => b.loss - a.loss < 0.1],
      ["By about a half", (b, a) => Math.abs(b.loss - a.loss - 0.5) < 0.1],
      ["By about 1", (b, a) => Math.abs(b.loss - a.loss - 1) < 0.1],
    ],
    why: "p - 1 is nearly 0: there is nothing left to learn from this row.",
  },
  {
    text: "What do the entries of the gradient in the logits add up to?",
    before: row([0.1, 0.9, 4], 1), after: row([0.1, 0.9, 4], 1), look: "gradient",
    answers: [
      ["1", (_, a) => near(a.grad.reduce((t, g) => t + g, 0), 1)],
      ["0", (_, a) => near(a.grad.reduce((t, g) => t + g, 0), 0)],
      ["The loss", (_, a) => near(a.grad.reduce((t, g) => t + g, 0), a.loss)],
    ],
    why: "The gradient is p - t. Both p and t add up to 1.",
  },
  {
    text: "The target is class 0. Which logits does a step downhill raise?",
    before: row([1, 3, 2]), after: row([1, 3, 2]), look: "gradient",
    answers: [
      ["Only that of class 0", (_, a) => a.grad[0] < 0 && a.grad[1] > 0 && a.grad[2] > 0],
      ["All of them", (_, a) => a.grad.every((g) => g < 0)],
      ["Only the largest", (_, a) => a.grad[1] < 0 && a.grad[0] > 0],
    ],
    why: "p - t is negative only where t is above p: at the target. All others are lowered, each by its probability.",
  },
  {
    text: "Label smoothing is 0.1, and the model gets surer: the target's logit rises from 5 to 20. What happens to the loss?",
    before: row([0, 0, 5], 2, { smoothing: 0.1 }), after: row([0, 0, 20], 2, { smoothing: 0.1 }), look: "loss",
    answers: [
      ["It falls to nearly 0.", (b, a) => a.loss < 0.1],
      ["It falls a little.", (b, a) => a.loss < b.loss && a.loss >= 0.1],
      ["It rises.", (b, a) => a.loss > b.loss + 1e-6],
    ],
    why: "Smoothing asks for 0.033 of probability at every other class, so a logit that is too large costs more.",
  },
  {
    text: "The target's class gets the weight 3. What happens to the loss of this row?",
    before: row([1, 1.1, 2.5], 2), after: row([1, 1.1, 2.5], 2, { weights: [1, 1, 3] }), look: "loss",
    answers: [
      ["It is divided by 3.", (b, a) => near(a.loss, b.loss / 3)],
      ["It stays the same.", (b, a) => near(a.loss, b.loss)],
      ["It is multiplied by 3.", (b, a) => near(a.loss, 3 * b.loss)],
    ],
    why: "A class weight is a factor of the loss of every row with that target. A weighted mean divides by the weights after it.",
  },
  {
    text: "With a softcap of 5, what becomes of a logit of 100?",
    before: row([0, 1, 100], 2), after: row([0, 1, 100], 2, { softcap: 5 }), look: "p",
    answers: [
      ["100", (_, a) => near(a.z[2], 100)],
      ["20", (_, a) => near(a.z[2], 20)],
      ["5", (_, a) => near(a.z[2], 5)],
    ],
    why: "5 tanh(100 / 5) is 5 to many digits: the softcap bounds every logit, here by 5.",
  },
  {
    text: "The logit of the target becomes -inf. What is the loss?",
    before: row([1, 2, 3], 1), after: row([1, -Infinity, 3], 1), look: "loss",
    answers: [
      ["nan", (_, a) => Number.isNaN(a.loss)],
      ["inf", (_, a) => a.loss === Infinity],
      ["About 3", (_, a) => Math.abs(a.loss - 3) < 1],
    ],
    why: "The class is impossible: its probability is 0, and -log 0 is inf.",
  },
  {
    text: "Two classes have logits 1 and 3. The probability of class 1 is the sigmoid of what?",
    before: row([1, 3], 1), after: row([1, 3], 1), look: "p",
    answers: [
      ["Of 3", (_, a) => near(a.p[1], sigmoid(3))],
      ["Of 4", (_, a) => near(a.p[1], sigmoid(4))],
      ["Of 2", (_, a) => near(a.p[1], sigmoid(2))],
    ],
    why: "Of the difference of the logits: exp(3) / (exp(1) + exp(3)) = 1 / (1 + exp(-(3 - 1))).",
  },
  {
    text: "A class is added, with the same logit as the largest. What happens to the probability of class 2?",
    before: row([1, 2, 3], 2), after: row([1, 2, 3, 3], 2), look: "p",
    answers: [
      ["It stays the same.", (b, a) => near(a.p[2], b.p[2])],
      ["It falls below a half.", (b, a) => a.p[2] < 0.5 && a.p[2] < b.p[2]],
      ["It grows.", (b, a) => a.p[2] > b.p[2]],
    ],
    why: "Two equal logits share: each gets less than a half.",
  },
];

/**
 * Which answer the numbers give.
 * @param {Question} question
 */
export function answerOf({ before, after, answers }) {
  const [b, a] = [explain(before), explain(after)];
  return answers.findIndex(([, holds]) => holds(b, a));
}
