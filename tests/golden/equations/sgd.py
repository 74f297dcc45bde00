"""SGD with momentum, dampening, Nesterov momentum and coupled decay, as torch.optim.SGD."""

KIND = "inner"
CASES = {
    "plain": {"lr": 0.1},
    "momentum_dampening_decay": {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": 1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {
    "plain": [1.08264693122, -1.87499902358, 0.668438260547, 3.21342339676],
    "momentum_dampening_decay": [0.859808409205, -1.87434643925, 0.807275602022, 3.55139414821],
    "nesterov": [1.01908291829, -1.74522699904, 0.996103652727, 3.76277855392],
}


class Rule:
    def __init__(self, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=0):
        self.lr, self.mu, self.tau, self.decay, self.nesterov = lr, momentum, dampening, weight_decay, nesterov
        self.buffer = None

    def step(self, w, g):
        g = g + self.decay * w
        if self.mu == 0:
            return w - self.lr * g
        self.buffer = g if self.buffer is None else self.mu * self.buffer + (1 - self.tau) * g
        return w - self.lr * (g + self.mu * self.buffer if self.nesterov else self.buffer)
