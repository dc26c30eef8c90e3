// A row of the view "Numbers" -> programs in Python that print the loss by the textbook formula and by the stable one.
import { list } from "./format.js";

/**
 * @param {{ logits: number[], target: number }} numbers
 * @returns {[string, string][]}
 */
export function numbersCodes({ logits, target }) {
  return [
    ["NumPy", `import numpy as np

z, target = np.array(${list(logits)}, dtype=np.float32), ${target}

with np.errstate(all="ignore"):
    p = np.exp(z) / np.exp(z).sum()
    print(f"textbook {-np.log(p[target]):.7g}")

z = z.astype(np.float64)
top = z.argmax()
rest = np.exp(np.delete(z, top) - z[top]).sum()
print(f"stable {(z[top] - z[target]) + np.log1p(rest):.7g}")
`],
    ["PyTorch", `import torch

z, target = torch.tensor(${list(logits, "torch.inf")}), ${target}

p = z.exp() / z.exp().sum()
print(f"textbook {-p[target].log():.7g}")

z = z.double()
top = z.argmax()
rest = (z - z[top]).exp().index_fill(0, top, 0).sum()
print(f"stable {(z[top] - z[target]) + rest.log1p():.7g}")
`],
    ["lastlayer", `import numpy as np
import lastlayer as ll

z, target = np.array(${list(logits)}, dtype=np.float32), ${target}

with np.errstate(all="ignore"):
    p = np.exp(z) / np.exp(z).sum()
    print(f"textbook {-np.log(p[target]):.7g}")

print(f"stable {ll.cross_entropy(z.astype(np.float64), target):.7g}")
`],
  ];
}
