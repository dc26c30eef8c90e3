// A mistake and a batch -> programs in Python that print the wrong number and the right one.
import { list } from "./format.js";
import { CLASS_WEIGHTS, TARGETS } from "./mistakes.js";

/** @type {Record<string, [string, string]>} lines of NumPy: the wrong loss, the right loss */
const NUMPY = {
  twice: ["loss(softmax(logits), targets)", "loss(logits, targets)"],
  axis: ["-np.log(softmax(logits, axis=0)[range(3), targets]).mean()", "loss(logits, targets)"],
  classes: ["(-one_hot * np.log(softmax(logits))).mean()", "loss(logits, targets)"],
  indices: ["loss(logits, one_hot[0])", "loss(logits, targets)"],
  onehot: [
    "(-weights * one_hot * np.log(softmax(logits))).sum() / 3",
    "(-weights * one_hot * np.log(softmax(logits))).sum() / weights[targets].sum()",
  ],
};

/** @type {Record<string, [string, string]>} */
const TORCH = {
  twice: ["F.cross_entropy(logits.softmax(dim=1), targets)", "F.cross_entropy(logits, targets)"],
  axis: ["F.nll_loss(logits.log_softmax(dim=0), targets)", "F.cross_entropy(logits, targets)"],
  classes: ["(-one_hot * logits.log_softmax(dim=1)).mean()", "F.cross_entropy(logits, targets)"],
  indices: ["F.cross_entropy(logits, one_hot[0].long())", "F.cross_entropy(logits, targets)"],
  onehot: [
    "F.cross_entropy(logits, one_hot, weight=weights)",
    "F.cross_entropy(logits, targets, weight=weights)",
  ],
};

/** @type {Record<string, [string, string]>} */
const LASTLAYER = {
  twice: ["ll.cross_entropy(ll.softmax(logits), targets)", "ll.cross_entropy(logits, targets)"],
  axis: ["ll.nll_loss(ll.log_softmax(logits, axis=0), targets)", "ll.cross_entropy(logits, targets)"],
  classes: ["ll.cross_entropy(logits, targets) / 3", "ll.cross_entropy(logits, targets)"],
  indices: ["ll.cross_entropy(logits, one_hot[0].astype(int))", "ll.cross_entropy(logits, targets)"],
  onehot: [
    "ll.cross_entropy(logits, one_hot, class_weight=weights)",
    "ll.cross_entropy(logits, targets, class_weight=weights)",
  ],
};

/**
 * @param {string} mistake
 * @param {number[][]} logits
 * @returns {[string, string][]}
 */
export function mistakeCodes(mistake, logits) {
  const rows = `[\n${logits.map((row) => `    ${list(row)},\n`).join("")}]`;
  const targets = `[${TARGETS.join(", ")}]`;
  const prints = ([wrong, right] = /** @type {[string, string]} */ (["", ""])) =>
    `print(f"wrong {${wrong}:.7g}")\nprint(f"right {${right}:.7g}")\n`;
  const weights = mistake === "onehot" ? list(CLASS_WEIGHTS) : null;
  const uses = (/** @type {Record<string, [string, string]>} */ lines, /** @type {string} */ word) =>
    lines[mistake].some((line) => line.includes(word));
  return [
    ["NumPy", [
      "import numpy as np", "", `logits = np.array(${rows})`, `targets = np.array(${targets})`,
      ...(uses(NUMPY, "one_hot") ? ["one_hot = np.eye(3, dtype=int)[targets]"] : []),
      ...(weights ? [`weights = np.array(${weights})`] : []), "", "",
      "def softmax(z, axis=1):", "    e = np.exp(z - z.max(axis=axis, keepdims=True))",
      "    return e / e.sum(axis=axis, keepdims=True)", "", "",
      ...(uses(NUMPY, "loss(")
        ? ["def loss(z, y):", "    return -np.log(softmax(z)[range(3), y]).mean()", "", ""] : []),
      prints(NUMPY[mistake]),
    ].join("\n")],
    ["PyTorch", [
      "import torch", "import torch.nn.functional as F", "",
      `logits = torch.tensor(${rows}, dtype=torch.float64)`, `targets = torch.tensor(${targets})`,
      ...(uses(TORCH, "one_hot") ? ["one_hot = F.one_hot(targets, 3).double()"] : []),
      ...(weights ? [`weights = torch.tensor(${weights}, dtype=torch.float64)`] : []),
      "", prints(TORCH[mistake]),
    ].join("\n")],
    ["lastlayer", [
      "import numpy as np", "import lastlayer as ll", "", `logits = np.array(${rows})`, `targets = np.array(${targets})`,
      ...(uses(LASTLAYER, "one_hot") ? ["one_hot = np.eye(3)[targets]"] : []),
      ...(weights ? [`weights = np.array(${weights})`] : []), "", prints(LASTLAYER[mistake]),
    ].join("\n")],
  ];
}
