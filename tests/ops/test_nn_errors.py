"""Activations, normalization and losses: PyTorch's errors, and what the table of samples can't show."""
import warnings

import numpy as np
import pytest

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config

# computed before any test: what waits for a run that fails is lost with it
X, Y = torch.tensor(np.zeros((3, 5), np.float32)), torch.tensor([0, 1, 4])
HALF = torch.tensor(np.full((3, 5), 0.5, np.float32))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.elu(Y), NotImplementedError, "\"elu_cpu\" not implemented for 'Long'"),
        (lambda: F.gelu(X, approximate="x"), RuntimeError, "approximate argument must be either none or tanh"),
        (lambda: F.hardtanh(X, 2, 1), ValueError, "min_val cannot be greater than max_val"),
        (lambda: F.hardtanh(X > 0), RuntimeError, "Bool inputs not supported for hardtanh"),
        (lambda: F.hardtanh(torch.zeros(2, dtype=torch.uint8)), RuntimeError, "unsigned type with negative limits"),
        (lambda: F.celu(X, 0), RuntimeError, "alpha cannot be 0"),
        (lambda: F.softshrink(X, -1), RuntimeError, "lambda must be"),
        (lambda: F.glu(X), RuntimeError, "Halving dimension must be even, but dimension 1 is size 5"),
        (lambda: F.glu(torch.tensor(1.0)), RuntimeError, "glu does not support scalars"),
        (lambda: F.prelu(X, torch.ones(2)), RuntimeError, "Found parameter numbers = 2 and channel size = 5"),
        (lambda: F.prelu(X, torch.ones(5, dtype=torch.float64)), RuntimeError, "Type promoting not supported"),
        (lambda: F.rrelu(X, 2, 1), RuntimeError, "Lower bound should be less"),
        (lambda: F.relu(3.0), (TypeError, AttributeError), "float"),
        (lambda: F.silu(3.0), TypeError, "must be Tensor, not float"),
        (lambda: torch.softmax(X, 2), IndexError, r"expected to be in range of \[-2, 1\], but got 2"),
        (lambda: torch.softmax(Y, 0), NotImplementedError, "not implemented for 'Long'"),
        (lambda: F.one_hot(X), RuntimeError, "only applicable to index tensor"),
        (lambda: F.one_hot(Y, 3), RuntimeError, "smaller than num_classes"),
        (lambda: F.one_hot(-Y), RuntimeError, "non-negative"),
        (lambda: F.gumbel_softmax(Y), RuntimeError, "dtype must be a floating point"),
        (lambda: F.dropout(X, 1.5), ValueError, "between 0 and 1, but got 1.5"),
        (lambda: F.dropout(Y, 0.5), RuntimeError, "can't be cast"),
        (lambda: F.dropout1d(torch.ones(2)), RuntimeError, "Expected 2D or 3D input"),
        (lambda: F.layer_norm(X, 5), TypeError, "must be tuple of ints"),
        (
            lambda: F.layer_norm(X, (3,)),
            RuntimeError,
            r"Given normalized_shape=\[3\], expected input with shape \[\*, 3\], but got input of size\[3, 5\]",
        ),
        (
            lambda: F.layer_norm(X, (5,), torch.ones(3)),
            RuntimeError,
            "Expected weight to be of same shape as normalized_shape",
        ),
        (lambda: F.layer_norm(X, (5,), torch.ones(5, dtype=torch.float64)), RuntimeError, "mixed dtype"),
        (lambda: F.layer_norm(Y, (3,)), NotImplementedError, "LayerNormKernelImpl"),
        (lambda: F.batch_norm(X, None, None), RuntimeError, "running_mean must be defined in evaluation mode"),
        (
            lambda: F.batch_norm(X[:1], None, None, training=True),
            ValueError,
            "Expected more than 1 value per channel when training",
        ),
        (
            lambda: F.batch_norm(X, torch.zeros(2), torch.ones(5)),
            RuntimeError,
            "running_mean should contain 5 elements not 2",
        ),
        (lambda: F.batch_norm(X, None, None, training=True, eps=0.0), ValueError, "eps must be positive"),
        (lambda: F.batch_norm(torch.ones(3), None, None, training=True), IndexError, "Dimension out of range"),
        (lambda: F.group_norm(X, 2), RuntimeError, "divisible by num_groups"),
        (lambda: F.group_norm(torch.ones(1, 3, 1), 3), ValueError, "more than 1 value per channel"),
        (lambda: F.group_norm(X, 5, torch.ones(3)), RuntimeError, "vector of size equal to the number of channels"),
        (lambda: F.instance_norm(X), ValueError, "Expected more than 1 spatial element"),
        (
            lambda: F.instance_norm(torch.ones(2, 3, 4), use_input_stats=False),
            RuntimeError,
            "running_mean and running_var",
        ),
        (lambda: F.cosine_similarity(Y, Y, 0), RuntimeError, "expected common dtype to be floating point"),
        (lambda: F.local_response_norm(X, 2), ValueError, "3D or higher"),
        (lambda: torch.renorm(Y * 1.0, 2, 0, 1), RuntimeError, "at least 2 dimensions"),
        (lambda: F.mse_loss(X, X, reduction="x"), ValueError, "x is not a valid value for reduction"),
        (lambda: F.mse_loss(Y, Y), NotImplementedError, "\"mse_cpu\" not implemented for 'Long'"),
        (lambda: F.mse_loss(X, X, weight=Y), ValueError, "must have the same size"),
        (lambda: F.smooth_l1_loss(X, X, beta=-1.0), RuntimeError, "negative values for beta"),
        (lambda: F.huber_loss(X, X, delta=0.0), RuntimeError, "non-positive values for delta"),
        (
            lambda: F.binary_cross_entropy(torch.tensor([-1.0]), torch.tensor([1.0])),
            RuntimeError,
            "all elements of input should be between 0 and 1",
        ),
        (lambda: F.binary_cross_entropy(HALF, HALF[0]), ValueError, "Using a target size"),
        (lambda: F.binary_cross_entropy(HALF, HALF.double()), RuntimeError, "Found dtype Double but expected Float"),
        (lambda: F.binary_cross_entropy_with_logits(X, X[0]), ValueError, "must be the same as input size"),
        (lambda: F.binary_cross_entropy_with_logits(X[0, :3], Y), RuntimeError, "can't be cast"),
        (lambda: F.kl_div(X[0, :3], Y), RuntimeError, "Integral inputs not supported"),
        (lambda: F.cross_entropy(X, torch.tensor([0, 1, 5])), IndexError, r"Target 5 is out of bounds\."),
        (lambda: F.cross_entropy(X, torch.tensor([0, -1, 4])), IndexError, r"Target -1 is out of bounds\."),
        (lambda: F.nll_loss(X, torch.tensor([0, 1, 5])), IndexError, r"Target 5 is out of bounds\."),
        (
            lambda: F.cross_entropy(X, Y[:2]),
            ValueError,
            r"Expected input batch_size \(3\) to match target batch_size \(2\)",
        ),
        (lambda: F.cross_entropy(X, Y.int()), RuntimeError, "expected target dtype to be Long or Byte, but got Int"),
        (lambda: F.cross_entropy(X, Y[:, None]), RuntimeError, "multi-target not supported"),
        (lambda: F.cross_entropy(torch.zeros(3, 5, 2), Y), RuntimeError, r"Expected target size \[3, 2\], got \[3\]"),
        (lambda: F.cross_entropy(X[0], Y), ValueError, "1D target must have size 1, but got target size: 3"),
        (
            lambda: F.cross_entropy(X, Y, torch.ones(4)),
            RuntimeError,
            "weight tensor should be defined either for all 5 classes",
        ),
        (
            lambda: F.cross_entropy(X, Y, torch.ones(5, dtype=torch.float64)),
            RuntimeError,
            "expected scalar type Float but found Double",
        ),
        (lambda: F.cross_entropy(torch.tensor(1.0), Y), IndexError, "Dimension out of range"),
        (lambda: F.nll_loss(torch.tensor(1.0), Y), ValueError, "Expected 1 or more dimensions"),
        (
            lambda: F.cross_entropy(X, Y, label_smoothing=1.5),
            RuntimeError,
            "label_smoothing must be between 0.0 and 1.0",
        ),
        (
            lambda: F.cross_entropy(X, X, ignore_index=2),
            RuntimeError,
            "ignore_index is not supported for floating point target",
        ),
        (lambda: F.cross_entropy(X.long(), Y), NotImplementedError, "not implemented for 'Long'"),
        (lambda: F.multi_margin_loss(X, torch.tensor([0, 1, 5])), RuntimeError, "target out of range"),
        (lambda: F.multi_margin_loss(X, Y, p=3), ValueError, "only p == 1 and p == 2 supported"),
        (lambda: F.multi_margin_loss(X, Y[:2]), RuntimeError, r"Expected target size \[3\], but got \[2\]"),
        (lambda: F.multi_margin_loss(X, Y, weight=torch.ones(3)), RuntimeError, "inconsistent weight size"),
        (lambda: F.multilabel_margin_loss(X, X.long() + 7), IndexError, "Target 7 is out of bounds|index out of range"),
        (lambda: F.multilabel_margin_loss(X, torch.tensor([[7] * 5] * 3)), RuntimeError, "is out of range"),
        (lambda: F.multilabel_margin_loss(X, Y), RuntimeError, "inconsistent target size"),
        (lambda: F.margin_ranking_loss(X, X[0], X), RuntimeError, "should have same dimension"),
        (lambda: F.cosine_embedding_loss(X, X, X), RuntimeError, "multi-target not supported"),
        (
            lambda: F.cosine_embedding_loss(X[0], X[0], torch.ones(3)),
            RuntimeError,
            "1D target tensor expects 2D input tensors",
        ),
        (lambda: F.triplet_margin_loss(X, X, X[0]), RuntimeError, "same number of dimensions"),
        (lambda: F.triplet_margin_loss(X, X, X, margin=-1.0), ValueError, "margin must be greater than 0"),
        (lambda: F.gaussian_nll_loss(X, X, X - 1), ValueError, "negative entry"),
        (lambda: F.gaussian_nll_loss(X, X, torch.ones(5)), ValueError, "var is of incorrect size"),
        (
            lambda: F.ctc_loss(torch.zeros(4, 2, 3), torch.ones(2, 2).long(), (5, 4), (2, 2)),
            RuntimeError,
            "value at most 4, but got value 5",
        ),
        (
            lambda: F.ctc_loss(torch.zeros(4, 2, 3), torch.ones(2, 2).long(), (4, 4), (3, 2)),
            RuntimeError,
            "at least 3 at dimension 1",
        ),
        (
            lambda: F.ctc_loss(torch.zeros(4, 2, 3), torch.ones(2, 2).long(), (4,), (2, 2)),
            RuntimeError,
            "must be of size batch_size",
        ),
        (
            lambda: F.ctc_loss(torch.zeros(4, 2, 3), torch.ones(2, 2).long(), (4, 4), (2, 2), blank=5),
            RuntimeError,
            "blank must be in label range",
        ),
        (
            lambda: F.ctc_loss(torch.zeros(4, 2, 3), torch.ones(2, 2).long() * 4, (4, 4), (2, 2)),
            RuntimeError,
            r"targets must be in \[0, 3\)",
        ),
    ],
)
def test_error(call, error, message):
    with pytest.raises(error, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call().tolist()         # what depends on values that are not computed yet is noticed when they are


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize("wrong", [5, -1])
def test_a_class_that_is_not_there_is_noticed_when_the_target_is_computed(tier, loss, wrong):
    with config.using(tier=tier):
        target = torch.tensor([0, 1, wrong - 1]) + torch.tensor([0, 0, 1])
        value = loss(X, target)
        with pytest.raises(IndexError):
            value.item()


@pytest.mark.parametrize("tier", ["reference", "compiled"])
def test_batch_norm_writes_running_statistics_in_place(tier):
    x = torch.tensor(np.arange(12.0, dtype="float32").reshape(4, 3))
    mean, var = torch.zeros(3), torch.ones(3)
    view, versions = mean[1:], (mean._version, var._version)
    with config.using(tier=tier):
        F.batch_norm(x, mean, var, training=True, momentum=0.5)
        np.testing.assert_allclose(mean.numpy(), [2.25, 2.75, 3.25])
        np.testing.assert_allclose(var.numpy(), [0.5 + 7.5] * 3)
        np.testing.assert_allclose(view.numpy(), [2.75, 3.25])
    assert (mean._version, var._version) == (versions[0] + 1, versions[1] + 1)


def test_running_statistics_take_a_changing_momentum_without_new_programs():
    from jitorch.graph.record import counters
    x, mean, var = torch.ones(4, 3) * 2, torch.zeros(3), torch.ones(3)
    built = []
    for step in range(1, 6):        # as modules with momentum=None do
        F.batch_norm(x, mean, var, training=True, momentum=1.0 / step)
        mean.tolist(), var.tolist()
        built.append(counters.programs_built)
    assert built[2:] == [built[2]] * 3
    np.testing.assert_allclose(mean.numpy(), [2.0] * 3)


def test_deprecated_reduction_arguments_warn():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert F.mse_loss(X + 1, X, size_average=False).item() == 15
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert F.nll_loss(X, Y, reduce=False).shape == (3,)


def test_losses_warn_of_sizes_that_differ():
    with pytest.warns(UserWarning, match="different to the input size"):
        F.l1_loss(X, X[0])


def test_dropout_keeps_the_mean_and_repeats_with_the_seed():
    torch.manual_seed(7)
    first = F.dropout(torch.ones(100, 100), 0.3).numpy()
    torch.manual_seed(7)
    again = F.dropout(torch.ones(100, 100), 0.3).numpy()
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / (1 - 0.3))}
    assert abs(first.mean() - 1) < 0.03
    assert (F.dropout(torch.ones(100, 100), 0.3).numpy() != first).any()


def test_dropout_of_channels_drops_whole_channels():
    torch.manual_seed(1)
    y = F.dropout2d(torch.ones(8, 16, 3, 3), 0.5).numpy().reshape(128, 9)
    assert ((y == y[:, :1]).all(1)).all() and 20 < (y[:, 0] == 0).sum() < 108


def test_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(2)
    x = torch.randn(200, 200)
    y = F.alpha_dropout(x, 0.2, training=True).numpy()
    assert abs(y.mean()) < 0.03 and abs(y.std() - 1) < 0.03


def test_gumbel_softmax_samples_classes_by_their_probability():
    torch.manual_seed(3)
    p = np.array([0.6, 0.3, 0.1])
    y = F.gumbel_softmax(torch.tensor(np.log(p)).float().expand(5000, 3), hard=True)
    counts = y.numpy().mean(0)
    assert np.all(np.isin(y.numpy(), (0, 1)) | np.isclose(y.numpy(), 1)) and np.abs(counts - p).max() < 0.03


def test_in_place_activation_of_a_leaf_that_requires_grad_raises():
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        F.elu_(torch.ones(2, requires_grad=True))


def test_in_place_activation_returns_its_tensor():
    x = torch.tensor([-1.0, 2.0])
    assert F.leaky_relu(x, 0.5, inplace=True) is x and x.tolist() == [-0.5, 2.0]
