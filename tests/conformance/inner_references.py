"""The inner rules that PyTorch 1.13 does not have, or has in an older form, written from their papers in NumPy.

One array holds the elements of many tensors, each with hyperparameters of its own: `h` maps names to an array per
element. `step(gradient, t)` is one step of every element, t its own counter from 1, and gives the new weights and
state; the caller keeps those of the elements that took part. In float32 every scalar is computed in float64 and rounded
once, as torch does with Python numbers. A rule that serves evaluators another array has it as state["x"].
"""
import numpy as np


class Reference:
    def __init__(self, h, start, dtype):
        self.h, self.dtype, self.weights = h, dtype, start.astype(dtype)
        self.state = {name: np.zeros_like(self.weights) for name in self.NAMES}
        for name in self.FROM_WEIGHTS:
            self.state[name] = self.weights.copy()

    NAMES, FROM_WEIGHTS = (), ()

    def advance(self, gradient, t, present):
        weights, state = self.step(gradient.astype(self.dtype), t)
        self.weights = np.where(present, weights, self.weights)
        self.state = {name: np.where(present, state[name], old) for name, old in self.state.items()}

    def scalar(self, value):
        return value.astype(self.dtype)

    def moment(self, name, beta, value):
        return self.scalar(beta) * self.state[name] + self.scalar(1 - beta) * value


class Lion(Reference):
    """Chen et al. 2023, algorithm 2."""
    NAMES = ("m",)

    def step(self, g, t):
        h = self.h
        direction = self.moment("m", h["beta1"], g)
        w = self.weights * self.scalar(1 - h["lr"] * h["weight_decay"]) - self.scalar(h["lr"]) * np.sign(direction)
        return w, {"m": self.moment("m", h["beta2"], g)}


class Adan(Reference):
    """Xie et al. 2022, algorithm 1, with the authors' betas."""
    NAMES = ("m", "v", "n", "previous")

    def step(self, g, t):
        h, w = self.h, self.weights
        d = np.where(t == 1, 0, g - self.state["previous"]).astype(self.dtype)
        m, v = self.moment("m", h["beta1"], g), self.moment("v", h["beta2"], d)
        n = self.moment("n", h["beta3"], (g + self.scalar(h["beta2"]) * d) ** 2)
        root = np.sqrt(n) / self.scalar(np.sqrt(1 - h["beta3"] ** t)) + self.scalar(h["eps"])
        decay, no_prox = h["lr"] * h["weight_decay"], h["no_prox"] != 0
        w = np.where(no_prox, w * self.scalar(1 - decay), w)
        w = w - self.scalar(h["lr"] / (1 - h["beta1"] ** t)) * (m / root)
        w = w - self.scalar(h["lr"] * h["beta2"] / (1 - h["beta2"] ** t)) * (v / root)
        w = np.where(no_prox, w, w / self.scalar(1 + decay))
        return w, {"m": m, "v": v, "n": n, "previous": g}


class NAdam(Reference):
    """Dozat 2016, algorithm 8, with torch's momentum schedule: every mu_t enters the product once."""
    NAMES = ("m", "v")

    def __init__(self, h, start, dtype):
        super().__init__(h, start, dtype)
        self.product = np.ones_like(start)

    def mu(self, t):
        return self.h["beta1"] * (1 - 0.5 * 0.96 ** (t * self.h["momentum_decay"]))

    def advance(self, gradient, t, present):
        before, self.product = self.product, self.product * self.mu(t)
        super().advance(gradient, t, present)
        self.product = np.where(present, self.product, before)

    def step(self, g, t):
        h, w = self.h, self.weights
        decoupled = h["decoupled_weight_decay"] != 0
        g = np.where(decoupled, g, g + self.scalar(h["weight_decay"]) * w)
        w = np.where(decoupled, w * self.scalar(1 - h["lr"] * h["weight_decay"]), w)
        m, v = self.moment("m", h["beta1"], g), self.moment("v", h["beta2"], g * g)
        root = np.sqrt(v / self.scalar(1 - h["beta2"] ** t)) + self.scalar(h["eps"])
        now, following = self.mu(t), self.mu(t + 1)
        w = w - self.scalar(h["lr"] * (1 - now) / (1 - self.product)) * (g / root)
        w = w - self.scalar(h["lr"] * following / (1 - self.product * following)) * (m / root)
        return w, {"m": m, "v": v}


class ScheduleFreeSgd(Reference):
    """Defazio et al. 2024, algorithm 1 and section 4.3: gradients at y (the weights), x the average of z."""
    NAMES, FROM_WEIGHTS, BETA = (), ("x", "z"), "beta"

    def __init__(self, h, start, dtype):
        super().__init__(h, start, dtype)
        self.sum, self.largest = np.zeros_like(start), np.zeros_like(start)

    def advance(self, gradient, t, present):
        h = self.h
        self.rate = h["lr"] * np.minimum(1, t / np.maximum(h["warmup_steps"], 1))
        largest = np.maximum(self.largest, self.rate)
        weight = t ** h["r"] * largest ** h["weight_lr_power"]
        self.share = weight / (self.sum + weight)
        self.largest = np.where(present, largest, self.largest)
        self.sum = np.where(present, self.sum + weight, self.sum)
        super().advance(gradient, t, present)

    def direction(self, g, t):
        return g + self.scalar(self.h["weight_decay"]) * self.weights, {}

    def step(self, g, t):
        direction, state = self.direction(g, t)
        beta = self.h[self.BETA]
        z = self.state["z"] - self.scalar(self.rate) * direction
        x = self.scalar(1 - self.share) * self.state["x"] + self.scalar(self.share) * z
        return self.scalar(beta) * x + self.scalar(1 - beta) * z, {"x": x, "z": z, **state}


class ScheduleFreeAdamW(ScheduleFreeSgd):
    """The same with gradients divided by the root of Adam's second moment."""
    NAMES, BETA = ("v",), "beta1"

    def direction(self, g, t):
        h = self.h
        v = self.moment("v", h["beta2"], g * g)
        root = np.sqrt(v / self.scalar(1 - h["beta2"] ** t)) + self.scalar(h["eps"])
        return g / root + self.scalar(h["weight_decay"]) * self.weights, {"v": v}


class Gpa(Reference):
    """Defazio et al. 2025, GPA-AdamW: AdamW steps of z with gradients at y, x the exponential average of z."""
    NAMES, FROM_WEIGHTS = ("m", "v"), ("x", "z")

    def step(self, g, t):
        h = self.h
        m, v = self.moment("m", h["beta1"], g), self.moment("v", h["beta2"], g * g)
        root = np.sqrt(v) / self.scalar(np.sqrt(1 - h["beta2"] ** t)) + self.scalar(h["eps"])
        z = self.state["z"] * self.scalar(1 - h["lr"] * h["weight_decay"])
        z = z - self.scalar(h["lr"] / (1 - h["beta1"] ** t)) * (m / root)
        x = self.scalar(h["mu_x"]) * self.state["x"] + self.scalar(1 - h["mu_x"]) * z
        return self.scalar(h["mu_y"]) * x + self.scalar(1 - h["mu_y"]) * z, {"m": m, "v": v, "x": x, "z": z}


REFERENCES = {"adan": Adan, "gpa": Gpa, "lion": Lion, "nadam": NAdam, "schedule_free_adamw": ScheduleFreeAdamW,
              "schedule_free_sgd": ScheduleFreeSgd}
