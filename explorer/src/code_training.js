// Points and weights -> programs in Python that print the mean loss and the share that is right, and take a step.
import { list, literal } from "./format.js";

/**
 * @param {import("./training.js").Point[]} points
 * @param {number[][]} weights
 * @param {boolean} product
 * @param {number} rate
 * @returns {[string, string][]}
 */
export function trainingCodes(points, weights, product, rate) {
  const nested = (/** @type {number[][]} */ rows) => `[\n${rows.map((row) => `    ${list(row)},\n`).join("")}]`;
  const x = nested(points.map((point) => [point.x, point.y]));
  const y = `[${points.map((point) => point.k).join(", ")}]`;
  // The bias last, after the weights of the features.
  const w = nested(weights.map(([a, b, c, d]) => (product ? [a, b, d, c] : [a, b, c])));
  const more = (/** @type {string} */ stack) => (product ? [`x = ${stack}  # the feature x1 x2`] : []);
  return [
    ["NumPy", [
      "import numpy as np", "", `x = np.array(${x})`, `y = np.array(${y})`,
      ...more("np.column_stack([x, x[:, 0] * x[:, 1]])"),
      `parameters = np.array(${w})  # the bias last`, "", "x = np.column_stack([x, np.ones(len(x))])",
      "z = x @ parameters.T", "z = z - z.max(axis=1, keepdims=True)",
      "p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)", "rows = np.arange(len(y))",
      "loss = (np.log(np.exp(z).sum(axis=1)) - z[rows, y]).mean()",
      'print(f"loss {loss:.7g}")', 'print(f"right {(z.argmax(axis=1) == y).mean():.7g}")', "",
      "t = np.eye(len(parameters))[y]", "gradient = (p - t).T @ x / len(x)",
      `parameters = parameters - ${literal(rate)} * gradient  # one step`, "",
    ].join("\n")],
    ["PyTorch", [
      "import torch", "import torch.nn.functional as F", "",
      `x = torch.tensor(${x}, dtype=torch.float64)`, `y = torch.tensor(${y})`,
      ...more("torch.column_stack([x, x[:, 0] * x[:, 1]])"),
      `parameters = torch.tensor(${w}, dtype=torch.float64)  # the bias last`, "",
      "layer = torch.nn.Linear(x.shape[1], len(parameters), dtype=torch.float64)",
      "with torch.no_grad():", "    layer.weight.copy_(parameters[:, :-1])", "    layer.bias.copy_(parameters[:, -1])",
      `optimizer = torch.optim.SGD(layer.parameters(), lr=${literal(rate)})`, "",
      "z = layer(x)", "loss = F.cross_entropy(z, y)", 'print(f"loss {loss.item():.7g}")',
      'print(f"right {(z.argmax(dim=1) == y).double().mean():.7g}")', "",
      "loss.backward()", "optimizer.step()  # one step", "",
    ].join("\n")],
    ["lastlayer", [
      "import numpy as np", "import lastlayer as ll", "", `x = np.array(${x})`, `y = np.array(${y})`,
      ...more("np.column_stack([x, x[:, 0] * x[:, 1]])"),
      `parameters = np.array(${w})  # the bias last`, "weight, bias = parameters[:, :-1], parameters[:, -1]", "",
      "loss, (dx, dweight, dbias) = ll.linear_cross_entropy_grad(x, weight, y, bias=bias)",
      'print(f"loss {loss:.7g}")', "z = x @ weight.T + bias", 'print(f"right {(z.argmax(axis=1) == y).mean():.7g}")', "",
      `weight, bias = weight - ${literal(rate)} * dweight, bias - ${literal(rate)} * dbias  # one step`, "",
    ].join("\n")],
  ];
}
