import numpy as np
import pytest
import torch

from acdc_seg.config import Config, DataConfig
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.inference.windows import predict_windows
from acdc_seg.models import create_model


@pytest.mark.parametrize("size", [(32, 32), (33, 70), (90, 20), (20, 24)], ids=str)
def test_as_monai_slides(size):
    torch.manual_seed(0)
    network = create_model("unet", 1, 4, depth=2, base_channels=4).eval()
    config = Config(data=DataConfig(size=(32, 40), fit="crop", normalize="none"))
    predictor = ModelPredictor(network, config, device=torch.device("cpu"), precision="fp32")
    images = np.random.default_rng(0).random((2, 1, *size), np.float32)

    def predict(windows):
        assert windows.shape[1:] == (1, 32, 40)
        with torch.inference_mode():
            return network(torch.from_numpy(windows)).softmax(1).numpy()

    found = predict_windows(predict, images, (32, 40))
    expected = predictor.predict_batch(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_windows_are_weighted_by_their_middle():
    # two windows of 4 pixels over 7 columns, the second from column 3 on, meet in column 3 at
    # equal distance from their middles: odds of 9 and 1 / 9 are averaged to 1
    outputs = iter([np.array([0.9, 0.1]), np.array([0.1, 0.9])])

    def predict(windows):
        parts = [np.broadcast_to(next(outputs)[:, None, None], (2, 1, 4)) for _ in windows]
        return np.stack(parts).astype(np.float32)

    found = predict_windows(predict, np.zeros((1, 1, 1, 7), np.float32), (1, 4))
    np.testing.assert_allclose(found[0, 0, 0], [0.9] * 3 + [0.5] + [0.1] * 3, atol=1e-6)
