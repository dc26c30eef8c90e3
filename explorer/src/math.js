// One row of logits, its target and options -> probabilities, loss and gradient, in float64.
//
// The formulas are those of src/lastlayer/backends/reference.py:
//
//   z    = softcap tanh(raw / softcap) / temperature
//   t_j  = w_j ((1 - smoothing) q_j + smoothing / V)             q: one-hot, or the dense target
//   loss = sum_j t_j (peak - z_j) + mass log1p(rest)             mass = sum_j t_j
//   grad = (mass p_j - t_j) dz/draw
//
// with peak = max_j z_j and rest = the sum of exp(z_j - peak) over all classes but the argmax.

/**
 * @typedef {object} Row
 * @property {number[]} logits raw logits, one a class
 * @property {number} [target] the class of an index target
 * @property {number[] | null} [dense] a dense target, in place of an index
 * @property {number} [temperature]
 * @property {number | null} [softcap]
 * @property {number} [smoothing]
 * @property {number[] | null} [weights] one factor a class
 */

/**
 * The first NaN, else the first of the largest: as np.argmax.
 * @param {number[]} values
 */
export function argmax(values) {
  const unknown = values.findIndex(Number.isNaN);
  return unknown >= 0 ? unknown : values.reduce((best, x, j) => (x > values[best] ? j : best), 0);
}

/** @param {number[]} values */
export const sum = (values) => values.reduce((total, x) => total + x, 0);

/**
 * exp(a - b), with the rounding error of the difference (Knuth's TwoSum).
 * @param {number} a
 * @param {number} b
 */
function expDifference(a, b) {
  const difference = a - b;
  const part = difference - a;
  const error = a - (difference - part) - (b + part);
  return Math.exp(difference) * (1 + (Number.isFinite(error) ? error : 0));
}

/**
 * z: logits after softcap and temperature.
 * @param {Row} row
 */
export function scaled({ logits, softcap = null, temperature = 1 }) {
  return logits.map((r) => (softcap === null ? r : softcap * Math.tanh(r / softcap)) / temperature);
}

/**
 * peak, rest and the exponentials of a row.
 * @param {number[]} z
 */
export function statistics(z) {
  const top = argmax(z);
  const peak = z[top];
  const exp = z.map((x) => expDifference(x, peak));
  let rest = sum(exp.map((e, j) => (j === top ? 0 : e)));
  if (peak === -Infinity) rest = 0;
  if (peak === Infinity) rest = NaN;
  return { top, peak, exp, rest };
}

/**
 * The effective target t.
 * @param {Row} row
 */
export function effectiveTarget({ logits, target = 0, dense = null, smoothing = 0, weights = null }) {
  const off = smoothing / logits.length;
  return logits.map((_, j) => {
    const q = dense ? dense[j] : Number(j === target);
    return ((1 - smoothing) * q + off) * (weights ? weights[j] : 1);
  });
}

/**
 * dz/draw.
 * @param {Row} row
 */
function slope({ logits, softcap = null, temperature = 1 }) {
  return logits.map((r) => (softcap === null ? 1 : 1 / Math.cosh(r / softcap) ** 2) / temperature);
}

/**
 * Everything about a row.
 * @param {Row} row
 */
export function explain(row) {
  const z = scaled(row);
  const { top, peak, exp, rest } = statistics(z);
  const p = exp.map((e) => e / (1 + rest));
  const logp = z.map((x) => x - peak - Math.log1p(rest));
  // The entropy: log1p(rest) + the mean of peak - z under p.
  const spread = sum(exp.map((e, j) => (e === 0 ? 0 : e * (peak - z[j]))));
  const entropy = Math.log1p(rest) + spread / (1 + rest) + (peak - peak); // NaN if the peak is infinite
  const t = effectiveTarget(row);
  const lse = peak === Infinity ? peak : peak + Math.log1p(rest);
  return { z, top, peak, exp, rest, p, logp, lse, entropy, t, ...lossOf(row, z, t) };
}

/**
 * Loss and gradient. A row whose targets are all 0 is left out if a logit is not finite.
 * @param {Row} row
 * @param {number[]} given
 * @param {number[]} t
 */
function lossOf(row, given, t) {
  const leftOut = t.every((x) => x === 0) && !given.every(Number.isFinite);
  const z = leftOut ? given.map(() => 0) : given;
  const { peak, exp, rest } = statistics(z);
  const counted = t.map((x, j) => (x === 0 && z[j] === -Infinity ? 0 : x));
  const below = z.map((x, j) => {
    const gap = x === peak && !Number.isFinite(peak) && !Number.isNaN(peak) ? 0 : peak - x;
    return counted[j] === 0 && !Number.isFinite(gap) ? 0 : gap;
  });
  // peak - z may overflow where t (peak - z) does not.
  const gap = sum(counted.map((x, j) => (below[j] === Infinity && x < 1 ? x * peak - x * z[j] : x * below[j])));
  const mass = sum(counted);
  const c = sum(t);
  const steep = slope(row);
  const grad = exp.map((e, j) => {
    const p = e / (1 + rest);
    // 1 - p at the peak is rest / (1 + rest): nothing cancels.
    const inZ = p > 0.5 ? c - t[j] - c * (rest / (1 + rest)) : c * p - t[j];
    return leftOut ? 0 : inZ * steep[j];
  });
  const norm = Math.log1p(rest) + (peak - peak); // NaN if the peak is infinite
  const loss = mass === 0 && !Number.isFinite(norm) ? gap : gap + mass * norm;
  return { gap, mass, loss, grad };
}

/**
 * 1 / (1 + exp(-d)), without overflow.
 * @param {number} d
 */
export function sigmoid(d) {
  return d >= 0 ? 1 / (1 + Math.exp(-d)) : Math.exp(d) / (1 + Math.exp(d));
}
