"""Sets that parameters and values lie in: `constraint.check(x)` says where x is inside."""

from __future__ import annotations

import jitorch


class Constraint:
    """A set of tensors. event_dim: how many last dimensions make up one element of it."""

    is_discrete = False
    event_dim = 0

    def check(self, value):
        """A bool tensor: whether each element is inside."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_").lstrip("_") + "()"


class _Simple(Constraint):
    """A constraint that a function of the values tells."""

    def __init__(self, name: str, check, is_discrete: bool = False, event_dim: int = 0):
        self.name, self._check, self.is_discrete, self.event_dim = name, check, is_discrete, event_dim

    def check(self, value):
        return self._check(value)

    def __repr__(self) -> str:
        return self.name


class _Bounds(Constraint):
    """Values between bounds (numbers or tensors), each of which may be open."""

    def __init__(self, low=None, high=None, open_low: bool = False, open_high: bool = False, is_discrete: bool = False):
        self.lower_bound, self.upper_bound = low, high
        self.open_low, self.open_high, self.is_discrete = open_low, open_high, is_discrete

    def check(self, value):
        inside = jitorch.ones_like(value, dtype=jitorch.bool)
        if self.is_discrete:
            inside = value % 1 == 0
        if self.lower_bound is not None:
            inside = inside & (value > self.lower_bound if self.open_low else value >= self.lower_bound)
        if self.upper_bound is not None:
            inside = inside & (value < self.upper_bound if self.open_high else value <= self.upper_bound)
        return inside

    def __repr__(self) -> str:
        if self.upper_bound is None:
            kind = "GreaterThan" if self.open_low else "GreaterThanEq"
            return f"{kind}(lower_bound={self.lower_bound})"
        return f"Interval(lower_bound={self.lower_bound}, upper_bound={self.upper_bound})"


class _Dependent(Constraint):
    """A set that depends on parameters: also the decorator of properties that give one."""

    def __init__(self, *, is_discrete: bool = False, event_dim: int = 0):
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def check(self, value):
        raise ValueError("Cannot determine validity of dependent constraint")


class dependent_property(property):
    """A property of a distribution that gives a constraint, which depends on the parameters."""

    def __init__(self, fn=None, *, is_discrete: bool = False, event_dim: int = 0):
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn):
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


class independent(Constraint):
    """A constraint whose last dimensions are taken together."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int):
        self.base_constraint, self.count = base_constraint, reinterpreted_batch_ndims
        self.is_discrete, self.event_dim = base_constraint.is_discrete, base_constraint.event_dim + reinterpreted_batch_ndims

    def check(self, value):
        inside = self.base_constraint.check(value)
        return inside.reshape((*inside.shape[: inside.ndim - self.count], -1)).all(-1) if self.count else inside


def is_dependent(constraint) -> bool:
    """Whether a constraint can't be checked without a distribution."""
    return isinstance(constraint, (_Dependent, dependent_property))


def _positive_definite(x):
    symmetric = jitorch.isclose(x, x.mT, atol=1e-6).all(-1).all(-1)
    return symmetric & jitorch.linalg.cholesky_ex(x).info.eq(0)


def integer_interval(low, high):
    """Whole numbers from low to high."""
    return _Bounds(low, high, is_discrete=True)


def greater_than(low):
    """Numbers above low."""
    return _Bounds(low, open_low=True)


def greater_than_eq(low):
    """Numbers not below low."""
    return _Bounds(low)


def less_than(high):
    """Numbers below high."""
    return _Bounds(None, high, open_high=True)


def interval(low, high):
    """Numbers from low to high."""
    return _Bounds(low, high)


def half_open_interval(low, high):
    """Numbers from low to below high."""
    return _Bounds(low, high, open_high=True)


dependent = _Dependent()
boolean = _Simple("Boolean()", lambda x: (x == 0) | (x == 1), True)
one_hot = _Simple("OneHot()", lambda x: ((x == 0) | (x == 1)).all(-1) & x.sum(-1).eq(1), True, 1)
nonnegative_integer, positive_integer = _Bounds(0, is_discrete=True), _Bounds(1, is_discrete=True)
real = _Simple("Real()", lambda x: x == x)
real_vector = independent(real, 1)
positive, nonnegative, unit_interval = _Bounds(0.0, open_low=True), _Bounds(0.0), _Bounds(0.0, 1.0)
simplex = _Simple("Simplex()", lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6), event_dim=1)
lower_triangular = _Simple("LowerTriangular()", lambda x: (x.tril() == x).reshape((*x.shape[:-2], -1)).all(-1), event_dim=2)
lower_cholesky = _Simple(
    "LowerCholesky()",
    lambda x: (x.tril() == x).reshape((*x.shape[:-2], -1)).all(-1) & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1),
    event_dim=2,
)
positive_definite = _Simple("PositiveDefinite()", _positive_definite, event_dim=2)
multinomial = _Simple("Multinomial()", lambda x: (x >= 0).all(-1), True, 1)
