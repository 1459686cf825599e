"""Members on a real CUDA device against the CPU's: metrics agree, bits need not. ``make test-gpu``.

Needs PyTorch with CUDA, XGBoost's ordinary wheel, scikit-learn, pandas and numba; for the served graph onnx and
onnxruntime too. Neither PostgreSQL nor Prefect nor RAPIDS, so that it also runs on a bare GPU machine.
"""

import os

import numpy as np
import pytest

from benchmarks.support.generated_rows import expected_log_loss, generate_rows
from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.evaluation.splits import train_rows
from catalyst_ml.models import training_device
from catalyst_ml.models.members import fit_members
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import default_procedure
from catalyst_ml.models.session_effects import session_groups

torch = pytest.importorskip("torch", reason="PyTorch is not installed: members were not trained on a device")
pytest.importorskip("xgboost", reason="XGBoost is not installed: members were not trained on a device")
pytest.importorskip("sklearn", reason="scikit-learn is not installed: members were not trained on a device")

pytestmark = pytest.mark.gpu

HAS_DEVICE = torch.cuda.is_available()
ON_DEVICE = ("xgboost", "forest", "net")
MAX_LOG_LOSS_APART = 1e-3
needs_device = pytest.mark.skipif(not HAS_DEVICE, reason="no CUDA device: members were trained on the CPU only")


def test_there_is_a_device_to_train_on():
    if HAS_DEVICE:
        return
    if os.environ.get("CATALYST_REQUIRE_GPU") == "1":
        pytest.fail("'make test-gpu' needs a CUDA device, its driver and PyTorch with CUDA.", pytrace=False)
    pytest.skip("no CUDA device: members were trained on the CPU only")


@pytest.fixture(scope="module")
def market():
    return generate_rows(40_000, 24, seed=3)


@pytest.fixture(scope="module")
def procedure(market):
    return default_procedure(market.inputs, feature_set_version="generated-1", label_version="generated-1")


@pytest.fixture(scope="module")
def fit(market, procedure):
    known = market.rows[train_rows(market.rows, market.fold)]

    def fitted(asked):
        device = training_device.choose_device(asked, n_rows=len(known))
        return fit_members(
            model_matrix(known, procedure.inputs),
            known["y"].to_numpy(),
            np.ones(len(known)),
            procedure,
            groups=session_groups(known),
            n_threads=2,
            device=device,
        )

    return fitted


@pytest.fixture(scope="module")
def on_device(fit):
    return fit("cuda")


@pytest.fixture(scope="module")
def judged(market, procedure):
    return model_matrix(market.rows[market.judged], procedure.inputs)


@needs_device
def test_the_device_has_a_name_and_memory_and_refuses_what_does_not_fit():
    assert training_device.device_name()
    free = training_device.free_bytes()
    assert 0 < free < np.inf
    training_device.require_memory(0.1 * free)
    with pytest.raises(DeviceUnavailable, match="are free"):
        training_device.require_memory(free)


@needs_device
def test_members_with_a_form_on_the_device_really_ran_there(on_device):
    ran = {name: on_device.trained_on[name] for name in ON_DEVICE}
    assert {name: where.device for name, where in ran.items()} == dict.fromkeys(ON_DEVICE, "cuda"), ran
    assert (on_device.trained_on["logistic"].device, on_device.trained_on["logistic"].note) == ("cpu", "")


@needs_device
def test_log_losses_of_both_devices_agree(market, procedure, fit, on_device, judged):
    truth = market.p_true[market.judged]
    theirs, ours = fit("cpu").predict(judged), on_device.predict(judged)
    for name in ON_DEVICE:
        column = procedure.members.index(name)
        apart = expected_log_loss(truth, ours[:, column]) - expected_log_loss(truth, theirs[:, column])
        assert abs(apart) < MAX_LOG_LOSS_APART, name


@needs_device
def test_the_same_fit_on_the_device_twice_is_the_same_fit(on_device, fit, judged):
    np.testing.assert_array_equal(fit("cuda").predict(judged), on_device.predict(judged))


@needs_device
def test_the_served_graph_says_what_members_of_the_device_say(market, procedure, judged):
    pytest.importorskip("onnx", reason="onnx is not installed: the served graph was not compared")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the served graph was not compared")
    from catalyst_ml.models import final_fit, onnx_graph, parity, walk_forward

    device = training_device.choose_device("cuda", n_rows=len(market.rows))
    fold = walk_forward.fit_fold(market.rows, market.fold, procedure, n_threads=2, device=device)
    fitted = final_fit.fit_final(market.rows, procedure, fold.rows, as_of=market.as_of, n_threads=2, device=device)
    certificate = parity.certify(fitted, onnx_graph.export(fitted), judged)
    assert certificate.passed, certificate
