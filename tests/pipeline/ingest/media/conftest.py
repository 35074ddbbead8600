"""Every test of images runs by pairmill's own decoder, and by libraries as where nothing was compiled."""

import pytest

from pipeline.jpeg import native


@pytest.fixture(autouse=True, params=["native", "library"], scope="package")
def decoder(request):
    """What decodes JPEGs in all tests of this folder."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "library":
            patch.setattr(native, "is_built", lambda: False)
        elif not native.is_built():
            pytest.skip("the JPEG decoder was not compiled: no C compiler when pairmill was installed")
        yield request.param
