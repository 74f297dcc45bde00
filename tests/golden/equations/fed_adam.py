"""FedAdam (Reddi et al. 2021, algorithm 2): v_0 = tau^2, no bias correction; the flag scales the rate as Adam does."""
import math

KIND = "outer"
CASES = {
    "published": {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3},
    "bias_correction": {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3, "bias_correction": 1},
    "no_first_moment": {"lr": 0.05, "beta1": 0.0, "beta2": 0.9, "tau": 0.1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"published": [0.655719366638]}


class Rule:
    def __init__(self, lr, beta1=0.0, beta2=0.0, tau=1e-3, bias_correction=0):
        self.lr, self.b1, self.b2, self.tau, self.correct = lr, beta1, beta2, tau, bias_correction
        self.t, self.m, self.v = 0, 0.0, tau * tau

    def second(self, delta):
        return self.b2 * self.v + (1 - self.b2) * delta**2

    def step(self, phi, delta):
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * delta
        self.v = self.second(delta)
        rate = self.lr
        if self.correct:
            rate *= math.sqrt(1 - self.b2**self.t) / (1 - self.b1**self.t)
        return phi - rate * self.m / (math.sqrt(self.v) + self.tau)
