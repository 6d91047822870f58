"""Upstream's meta-parameters of Adam and gradient descent with learned hyperparameters."""

from celo.interop.layout import Layout, copy

SGD: Layout = (copy("log_learning_rate", "log_lr"),)
ADAM: Layout = (
    *SGD,
    copy("log_one_minus_b1", "one_minus_beta1"),
    copy("log_one_minus_b2", "one_minus_beta2"),
    copy("log_epsilon", "log_epsilon"),
)
