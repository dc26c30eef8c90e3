// One row of logits and a target -> the textbook formula, each step rounded to float32 as NumPy rounds it.
//
// Every function takes and returns numbers that float32 holds. exp and log are rounded once, from float64.

const f = Math.fround;

/**
 * The sum of a float32 array in NumPy's order: eight partial sums from eight entries on.
 * @param {number[]} values
 */
export function sum32(values) {
  if (values.length < 8) return values.reduce((total, x) => f(total + x), 0);
  const part = values.slice(0, 8);
  let i = 8;
  for (; i + 8 <= values.length; i += 8) part.forEach((_, k) => (part[k] = f(part[k] + values[i + k])));
  const pair = (/** @type {number} */ k) => f(part[k] + part[k + 1]);
  let total = f(f(pair(0) + pair(2)) + f(pair(4) + pair(6)));
  for (; i < values.length; i++) total = f(total + values[i]);
  return total;
}

/**
 * The steps of loss = -log(exp(z_y) / sum exp(z)), and its derivative by the chain rule through p.
 * @param {number[]} logits
 * @param {number} target
 */
export function naive(logits, target) {
  const z = logits.map(f);
  const exp = z.map((x) => f(Math.exp(x)));
  const total = sum32(exp);
  const p = exp.map((e) => f(e / total));
  const loss = f(-f(Math.log(p[target])));
  // dloss/dp = -1 / p_y, and dp_y/dz_j = p_y ([j = y] - p_j).
  const outer = f(-1 / p[target]);
  const grad = p.map((x, j) => f(outer * f(p[target] * f(Number(j === target) - x))));
  return { z, exp, total, p, loss, grad };
}
