// The worked numbers of docs/worked, as states of the view "One row".

/** @type {[string, Partial<import("./state.js").RowState>][]} */
export const PRESETS = [
  ["0.1, 0.9, 4.0: softmax", { logits: [0.1, 0.9, 4], target: 2 }],
  ["0.1, 0.9, 3.0: what one tutorial printed", { logits: [0.1, 0.9, 3], target: 2 }],
  ["2.0, 1.0, 0.1: to check by hand", { logits: [2, 1, 0.1], target: 0 }],
  ["102.0, 101.0, 100.1: the same, shifted", { logits: [102, 101, 100.1], target: 0 }],
  ["1000, 1001, 1002: where the formula overflows", { logits: [1000, 1001, 1002], target: 2 }],
  ["1.0, 1.1, 2.5: right about class 2", { logits: [1, 1.1, 2.5], target: 2 }],
  ["3.2, 0.2, 0.9: wrong about class 2", { logits: [3.2, 0.2, 0.9], target: 2 }],
  ["1.0, 3.1, 0.5: second row of the good batch", { logits: [1, 3.1, 0.5], target: 1 }],
  ["2.1, 0.1, 0.5: third row of the good batch", { logits: [2.1, 0.1, 0.5], target: 0 }],
  ["3.2, 0.2, 0.9: second row of the bad batch", { logits: [3.2, 0.2, 0.9], target: 1 }],
  ["0.2, 3.2, 0.1: third row of the bad batch", { logits: [0.2, 3.2, 0.1], target: 0 }],
  ["0, 20: a loss of 2e-9", { logits: [0, 20], target: 1 }],
  ["0.1, 0.9, 4.0, target 1: the gradient", { logits: [0.1, 0.9, 4], target: 1 }],
  ["log of 0.1, 0.1, 0.8: a loss of 0.223", { logits: [0.1, 0.1, 0.8].map(Math.log), target: 2 }],
  ["log of 0.8, 0.1, 0.1: a loss of 2.303", { logits: [0.8, 0.1, 0.1].map(Math.log), target: 2 }],
  ["log of 0.7, 0.2, 0.1: a loss of 0.357", { logits: [0.7, 0.2, 0.1].map(Math.log), target: 0 }],
  ["log of 0.1, 0.3, 0.7: they add up to 1.1", { logits: [0.1, 0.3, 0.7].map(Math.log), target: 0 }],
];
