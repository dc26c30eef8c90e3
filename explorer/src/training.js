// Points in the plane and a linear layer -> loss, gradient and a step of gradient descent, in float64.
//
// Features of a point: x1, x2, 1 (for the bias), and x1 x2 if `product`. Weights: one row a class.
import { argmax, explain } from "./math.js";

/** @typedef {{ x: number, y: number, k: number }} Point */

/**
 * Numbers in [0, 1) that are the same in every browser (mulberry32).
 * @param {number} seed
 */
function random(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Points around centres; the sum of three uniform numbers is nearly normal.
 * @param {[number, number, number][]} centres x, y, class
 * @param {number} each @param {number} spread @param {number} seed
 * @returns {Point[]}
 */
function around(centres, each, spread, seed) {
  const next = random(seed);
  const noise = () => spread * (next() + next() + next() - 1.5) * 2;
  const near = (/** @type {number} */ v) => Math.round(Math.max(-3, Math.min(3, v + noise())) * 100) / 100;
  return centres.flatMap(([x, y, k]) => Array.from({ length: each }, () => ({ x: near(x), y: near(y), k })));
}

/** @type {Record<string, { name: string, classes: number, points: Point[] }>} */
export const SETS = {
  three: {
    name: "three groups", classes: 3,
    points: around([[-1.3, -0.8, 0], [1.4, -0.9, 1], [0, 1.4, 2]], 10, 0.55, 1),
  },
  five: {
    name: "five groups that overlap", classes: 5,
    points: around([0, 1, 2, 3, 4].map((k) => [1.7 * Math.cos(1.2566 * k), 1.7 * Math.sin(1.2566 * k), k]), 8, 0.6, 2),
  },
  xor: {
    name: "XOR: what a linear layer cannot separate", classes: 2,
    points: around([[-1.3, -1.3, 0], [1.3, 1.3, 0], [-1.3, 1.3, 1], [1.3, -1.3, 1]], 6, 0.45, 3),
  },
};

/**
 * @param {Point} point @param {boolean} product
 */
export const features = ({ x, y }, product) => (product ? [x, y, 1, x * y] : [x, y, 1]);

/**
 * Weights of 0.
 * @param {number} classes @param {boolean} product
 */
export const zeros = (classes, product) => Array.from({ length: classes }, () => Array(product ? 4 : 3).fill(0));

/**
 * One logit a class.
 * @param {number[][]} weights @param {number[]} f
 */
export const logitsOf = (weights, f) => weights.map((row) => row.reduce((total, w, d) => total + w * f[d], 0));

/**
 * The gradient of one point's loss, by class and feature: (p - t) times the features.
 * @param {Point} point @param {number[][]} weights @param {boolean} product
 */
export function ofPoint(point, weights, product) {
  const f = features(point, product);
  const row = explain({ logits: logitsOf(weights, f), target: point.k });
  return { ...row, features: f, gradient: row.grad.map((g) => f.map((v) => g * v)) };
}

/**
 * The mean loss of all points, its gradient, and the share of points whose class is predicted.
 * @param {Point[]} points @param {number[][]} weights @param {boolean} product
 */
export function objective(points, weights, product) {
  const gradient = weights.map((row) => row.map(() => 0));
  let loss = 0;
  let right = 0;
  for (const point of points) {
    const one = ofPoint(point, weights, product);
    loss += one.loss / points.length;
    right += Number(one.top === point.k);
    one.gradient.forEach((row, k) => row.forEach((g, d) => (gradient[k][d] += g / points.length)));
  }
  return { loss, right: right / points.length, gradient };
}

/**
 * @param {number[][]} weights @param {number[][]} gradient @param {number} rate
 */
export const stepped = (weights, gradient, rate) =>
  weights.map((row, k) => row.map((w, d) => w - rate * gradient[k][d]));

/**
 * Where the predicted class changes along a horizontal line: [from, to, class].
 * @param {number[][]} weights @param {boolean} product @param {number} y @param {number} end
 * @returns {[number, number, number][]}
 */
export function intervals(weights, product, y, end) {
  // Along the line each logit is slope x + height.
  const lines = weights.map(([a, b, c, d]) => ({ slope: a + (product ? d * y : 0), height: b * y + c }));
  const cuts = [-end, end];
  lines.forEach((one, i) => lines.slice(i + 1).forEach((other) => {
    const x = (other.height - one.height) / (one.slope - other.slope);
    if (x > -end && x < end) cuts.push(x);
  }));
  cuts.sort((a, b) => a - b);
  /** @type {[number, number, number][]} */
  const parts = [];
  cuts.slice(1).forEach((to, i) => {
    const middle = (cuts[i] + to) / 2;
    const k = argmax(lines.map(({ slope, height }) => slope * middle + height));
    const last = parts.at(-1);
    if (last && last[2] === k) last[1] = to;
    else if (to > cuts[i]) parts.push([cuts[i], to, k]);
  });
  return parts;
}
