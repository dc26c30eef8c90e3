// Numbers <-> text, as Python writes and reads them.

/**
 * Seven significant digits, or as many as asked for.
 * @param {number} x
 */
export function text(x, digits = 7) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  const [whole, exponent] = x.toPrecision(digits).split("e");
  const short = whole.includes(".") ? whole.replace(/\.?0+$/, "") : whole;
  return exponent ? `${short}e${exponent}` : short;
}

/**
 * For places with little room.
 * @param {number} x
 */
export function brief(x) {
  if (x !== 0 && Number.isFinite(x) && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5)) return text(x, 2).replace("+", "");
  return text(x, 3);
}

/**
 * What was typed -> a number, or null if it is none.
 * @param {string} typed
 */
export function parsed(typed) {
  const word = typed.trim().replace(",", ".").replace("−", "-");
  if (/^[+-]?(inf|infinity|∞)$/i.test(word)) return word.startsWith("-") ? -Infinity : Infinity;
  return word === "" || !Number.isFinite(Number(word)) ? null : Number(word);
}

/**
 * A literal of Python, exact.
 * @param {number} x
 */
export function literal(x, infinity = "np.inf") {
  if (!Number.isFinite(x)) return x > 0 ? infinity : `-${infinity}`;
  const short = Object.is(x, -0) ? "-0" : String(x);
  return /[.e]/.test(short) ? short : `${short}.0`;
}

/**
 * @param {number[]} values
 */
export const list = (values, infinity = "np.inf") => `[${values.map((x) => literal(x, infinity)).join(", ")}]`;
