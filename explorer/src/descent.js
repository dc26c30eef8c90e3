// Gradient descent on the logits of one row, with the textbook formula in float32 and with the stable one.
import { explain } from "./math.js";
import { naive } from "./naive.js";

/**
 * The losses before each step and after the last one. Logits are kept in float32 by both.
 * @param {number[]} logits
 * @param {number} target
 * @param {number} rate
 * @param {number} steps
 */
export function descend(logits, target, rate, steps) {
  const run = (/** @type {(z: number[]) => { loss: number, grad: number[] }} */ at) => {
    let z = logits.map(Math.fround);
    const losses = [];
    for (let i = 0; i <= steps; i++) {
      const { loss, grad } = at(z);
      losses.push(loss);
      z = z.map((x, j) => Math.fround(x - Math.fround(rate * Math.fround(grad[j]))));
    }
    return { losses, z };
  };
  return { naive: run((z) => naive(z, target)), stable: run((z) => explain({ logits: z, target })) };
}

/**
 * What the textbook formula does to this row, in words; null if nothing is wrong.
 * @param {number[]} logits
 * @param {number} target
 */
export function trouble(logits, target) {
  const { exp, total, p, loss, grad } = naive(logits, target);
  const stable = explain({ logits, target });
  const large = exp.findIndex((e) => e === Infinity);
  if (large >= 0) {
    return `exp(${logits[large]}) is above 3.4e38, the largest float32: it becomes inf, and inf / inf is nan.`;
  }
  if (total === 0) return "Every exponential is below 1e-45, the smallest float32: all are 0, and 0 / 0 is nan.";
  if (total === Infinity) return "The sum of the exponentials is above 3.4e38: it becomes inf.";
  if (p[target] === 0) {
    return "The probability of the target is below 1e-45, so it is 0, and -log(0) is inf. The gradient is 0 times inf: nan. "
      + "After one step every weight is nan.";
  }
  if (loss === 0 && stable.loss > 0) {
    return grad[target] === 0
      ? "1 + the rest is rounded to 1: the probability is exactly 1, the loss exactly 0, and the gradient of the target's "
        + "logit is exactly 0. A step no longer moves it."
      : "The probability is rounded to 1, and the loss is exactly 0.";
  }
  const lost = Math.abs(loss - stable.loss) / stable.loss;
  return lost > 1e-3 ? `The loss is wrong by ${(100 * lost).toPrecision(2)} %: 1 - p has few digits left.` : null;
}
