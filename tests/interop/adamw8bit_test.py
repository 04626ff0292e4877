"""8-bit moments against an independent form in torch (the same codes and weights) and bitsandbytes' AdamW8bit (near).

adamw8bit_test.py PROGRAM WORK      PROGRAM: interop_train_adamw8bit. Exit 77: bitsandbytes is not there.

bitsandbytes' CPU form looks codes up in a table of 65,536 ratios, which has no 0 and moves the smallest codes; its codes
are nearest ones only above about 1e-4 of a block's largest element. So the two agree as far as that matters to the weights.
"""
import subprocess
import sys
from pathlib import Path

try:
    import bitsandbytes
    import torch
    from bitsandbytes.functional import create_dynamic_map
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

STEPS, RATE, DECAY, BETAS, EPSILON = 60, 1e-3, 0.1, (0.9, 0.95), 1e-8
EXACT, SAME_CODES, NEAR = 1e-4, 0.999, 0.02  # of the distance moved; share; of the distance moved

program, work = sys.argv[1], Path(sys.argv[2])
work.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
torch.set_num_threads(1)
failures = []


def expect(good, what):
    print(("ok    " if good else "FAILED ") + what)
    if not good:
        failures.append(what)


# Whole blocks; a block that ends early; too small for codes; the embedding, which keeps fp32.
shapes = {"w": (64, 80), "x": (70, 61), "small": (1000, ), "model.embed_tokens.weight": (96, 64)}
start = {name: torch.randn(shape) for name, shape in shapes.items()}
# Elements of different sizes, with a drift.
gradients = {name: torch.exp(0.3 * torch.randn(shape)) * (torch.randn(STEPS, *shape) + 0.3) for name, shape in shapes.items()}
decays = {name: DECAY if len(shape) > 1 else 0.0 for name, shape in shapes.items()}
save_file({f"start.{n}": t for n, t in start.items()} | {f"gradient.{n}": t for n, t in gradients.items()}, work / "in.safetensors")
subprocess.run([program, str(work / "in.safetensors"), str(work / "out.safetensors"), str(RATE), str(DECAY)], check=True)
ours = load_file(work / "out.safetensors")
coded = ["w", "x"]
expect(all(ours[f"m.{n}"].dtype == torch.uint8 for n in coded) and all(
    ours[f"m.{n}"].dtype == torch.float32 for n in shapes if n not in coded), "codes where there are to be codes")

signed, unsigned = create_dynamic_map(True), create_dynamic_map(False)


def encode(x, levels):
    blocks = torch.nn.functional.pad(x.flatten(), (0, -x.numel() % 256)).view(-1, 256)
    absmax = blocks.abs().amax(1, keepdim=True)
    ratio = blocks / torch.where(absmax > 0, absmax, 1)
    codes = torch.cat([(part[..., None] - levels).abs().argmin(-1) for part in ratio.split(8)])
    if levels is unsigned:
        codes = torch.where(blocks > 0, codes.clamp_min(1), codes)  # a second moment above 0 is not 0
    return codes.flatten()[:x.numel()].view(x.shape), absmax.flatten()


def decode(codes, absmax, levels):
    values = torch.nn.functional.pad(levels[codes].flatten(), (0, -codes.numel() % 256)).view(-1, 256) * absmax[:, None]
    return values.flatten()[:codes.numel()].view(codes.shape)


for name in coded:
    w = start[name].clone()
    m, v = encode(torch.zeros_like(w), signed), encode(torch.zeros_like(w), unsigned)
    for step in range(1, STEPS + 1):
        g = gradients[name][step - 1]
        m1 = decode(*m, signed) * BETAS[0] + g * (1 - BETAS[0])
        v1 = decode(*v, unsigned) * BETAS[1] + g * g * (1 - BETAS[1])
        w = w * (1 - RATE * decays[name])
        w = w - RATE / (1 - BETAS[0]**step) * m1 / ((v1 / (1 - BETAS[1]**step)).sqrt() + EPSILON)
        m, v = encode(m1, signed), encode(v1, unsigned)
    moved = (w - start[name]).norm()
    distance = ((ours[f"master.{name}"] - w).norm() / moved).item()
    expect(distance < EXACT, f"{name}: after {STEPS} steps {distance:.1e} of the way from the independent form")
    for moment, (codes, absmax) in {"m": m, "v": v}.items():
        same = (ours[f"{moment}.{name}"].long() == codes).float().mean().item()
        expect(same > SAME_CODES, f"{name}: {same:.5f} of the codes of {moment} are the same")
        expect(torch.allclose(ours[f"{moment}_absmax.{name}"], absmax, rtol=1e-5), f"{name}: so are the scales of {moment}")

parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in start.items()}
groups = [{"params": [p], "weight_decay": decays[n]} for n, p in parameters.items()]
peer = bitsandbytes.optim.AdamW8bit(groups, lr=RATE, betas=BETAS, eps=EPSILON)
peer.mng.pid2config[id(parameters["model.embed_tokens.weight"])] = {"optim_bits": 32}
copies = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in start.items()}
exact = torch.optim.AdamW([{"params": [p], "weight_decay": decays[n]} for n, p in copies.items()], lr=RATE, betas=BETAS, eps=EPSILON)
for step in range(STEPS):
    for name in shapes:
        parameters[name].grad = gradients[name][step].clone()
        copies[name].grad = gradients[name][step].clone()
    peer.step()
    exact.step()
for name in shapes:
    state = peer.state[parameters[name]]
    expect((state["state1"].dtype == torch.uint8) == (name in coded), f"{name}: bitsandbytes codes it, too, or neither")
    moved = (parameters[name].data - start[name]).norm()
    distance = ((ours[f"master.{name}"] - parameters[name].data).norm() / moved).item()
    bound = NEAR if name in coded else EXACT
    expect(distance < bound, f"{name}: {distance:.1e} of the way from bitsandbytes")
    ours_off = ((ours[f"master.{name}"] - copies[name].data).norm() / moved).item()
    peers_off = ((parameters[name].data - copies[name].data).norm() / moved).item()
    print(f"      {name}: from AdamW with fp32 moments decant is {ours_off:.1e}, bitsandbytes {peers_off:.1e} of the way")
    expect(ours_off <= 1.1 * peers_off + EXACT, f"{name}: decant is no further from fp32 moments than bitsandbytes")

sys.exit(1 if failures else 0)
