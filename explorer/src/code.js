// A row and its options -> programs in Python that compute it with NumPy, PyTorch or lastlayer, and print it.
import { list, literal } from "./format.js";

/** @typedef {import("./state.js").RowState} RowState */

const PRINTS = `print("probabilities", p)
print(f"loss {loss:.7g}")
print("gradient", gradient)
`;

/**
 * @param {RowState} row
 * @returns {[string, string][]}
 */
export function codes(row) {
  return [["NumPy", numpy(row)], ["PyTorch", torch(row)], ["lastlayer", lastlayer(row)]];
}

/**
 * @param {RowState} row
 */
export function numpy(row) {
  const { logits, dense, target, temperature, softcap, smoothing, weights } = row;
  const lines = ["import numpy as np", "", `logits = np.array(${list(logits)})`, "z = logits"];
  const slopes = [];
  if (softcap !== null) {
    const c = literal(softcap);
    lines.push(`z = ${c} * np.tanh(z / ${c})  # softcap`);
    slopes.push(`gradient = gradient / np.cosh(logits / ${c}) ** 2  # through the softcap`);
  }
  if (temperature !== 1) {
    lines.push(`z = z / ${literal(temperature)}  # temperature`);
    slopes.push(`gradient = gradient / ${literal(temperature)}  # through the temperature`);
  }
  lines.push(
    "", "top = z.argmax()", "exponentials = np.exp(z - z[top])  # the largest is exp(0) = 1",
    "rest = np.delete(exponentials, top).sum()", "p = exponentials / (1 + rest)", "",
  );
  if (dense) lines.push(`t = np.array(${list(dense)})`);
  else lines.push(`t = np.zeros(${logits.length})`, `t[${target}] = 1.0`);
  if (smoothing) lines.push(`t = ${literal(1 - smoothing)} * t + ${literal(smoothing)} / ${logits.length}  # smoothing`);
  if (weights) lines.push(`t = t * np.array(${list(weights)})  # class weights`);
  const finite = logits.every(Number.isFinite);
  lines.push(
    finite
      ? "loss = t @ (z[top] - z) + t.sum() * np.log1p(rest)"
      : "below = np.where(t == 0, 0.0, z[top] - z)  # a class with t = 0 adds nothing, even at z = -inf",
  );
  if (!finite) lines.push("loss = t @ below + t.sum() * np.log1p(rest)");
  return [...lines, "gradient = t.sum() * p - t", ...slopes, "", PRINTS].join("\n");
}

/**
 * @param {RowState} row
 */
export function torch(row) {
  const { logits, dense, target, temperature, softcap, smoothing, weights } = row;
  const tensor = (/** @type {number[]} */ values) => `torch.tensor(${list(values, "torch.inf")}, dtype=torch.float64)`;
  const lines = ["import torch", "import torch.nn.functional as F", ""];
  lines.push(`logits = ${tensor(logits).slice(0, -1)}, requires_grad=True)`, "z = logits");
  if (softcap !== null) lines.push(`z = ${literal(softcap)} * torch.tanh(z / ${literal(softcap)})  # softcap`);
  if (temperature !== 1) lines.push(`z = z / ${literal(temperature)}  # temperature`);
  lines.push(`target = ${dense ? tensor(dense) : `torch.tensor(${target})`}`);
  if (!logits.every(Number.isFinite) && (dense || smoothing)) {
    // PyTorch's loss would multiply a target of 0 by -inf.
    lines.push(dense ? "t = target" : `t = F.one_hot(target, ${logits.length}).double()`);
    if (smoothing) lines.push(`t = ${literal(1 - smoothing)} * t + ${literal(smoothing)} / ${logits.length}`);
    if (weights) lines.push(`t = t * ${tensor(weights)}`);
    lines.push("loss = -torch.where(t == 0, 0.0, t * z.log_softmax(0)).sum()  # t = 0 adds nothing, even at z = -inf");
  } else {
    const options = [];
    if (weights) options.push(`    weight=${tensor(weights)},`);
    if (smoothing) options.push(`    label_smoothing=${literal(smoothing)},`);
    const first = 'reduction="sum"';
    lines.push(
      ...(options.length
        ? ["loss = F.cross_entropy(", "    z, target,", ...options, `    ${first},`, ")"]
        : [`loss = F.cross_entropy(z, target, ${first})`]),
    );
  }
  lines.push("loss.backward()", "", "p = z.detach().softmax(0).numpy()", "gradient = logits.grad.numpy()");
  return [...lines, "loss = loss.item()", PRINTS].join("\n");
}

/**
 * @param {RowState} row
 */
export function lastlayer(row) {
  const { logits, dense, target, temperature, softcap, smoothing, weights } = row;
  const divided = temperature === 1 ? [] : [`temperature=${literal(temperature)}`];
  const options = [...divided];
  if (softcap !== null) options.push(`softcap=${literal(softcap)}`);
  if (smoothing) options.push(`label_smoothing=${literal(smoothing)}`);
  if (weights) options.push(`class_weight=${list(weights)}`);
  options.push('reduction="sum"');
  const capped = softcap === null ? "logits" : `${literal(softcap)} * np.tanh(logits / ${literal(softcap)})`;
  return [
    "import numpy as np", "import lastlayer as ll", "", `logits = np.array(${list(logits)})`,
    `target = ${dense ? `np.array(${list(dense)})` : target}`,
    `p = ll.softmax(${[capped, ...divided].join(", ")})`,
    `loss, gradient = ll.cross_entropy_grad(logits, target, ${options.join(", ")})`, "", PRINTS,
  ].join("\n");
}
