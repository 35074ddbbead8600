"""Tiny dual encoders with random weights, as transformers itself writes them, and drawn images."""

import io

import numpy as np
import pytest
from PIL import Image

_SENTENCE = "a red blue green dog cat man woman runs sits on the grass water with and two one big small"
WORDS = _SENTENCE.split()


def tokenizer(kind, context):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: at for at, word in enumerate(["<pad>", "<unk>", "<start>", "<end>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "<start> $A <end>" if kind == "clip" else "$A <end>"
    special = [("<start>", 2), ("<end>", 3)]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=context, **names)


def clip_config(side=32, width=24):
    from transformers import CLIPConfig

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": 40, "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {"image_size": side, "patch_size": 8}
    return CLIPConfig(text_config={**tower, **text}, vision_config={**tower, **vision}, projection_dim=width)


def siglip_config(side=32):
    from transformers import SiglipConfig

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": 40, "max_position_embeddings": 12, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text["projection_size"], vision = 32, {"image_size": side, "patch_size": 8}
    return SiglipConfig(text_config={**tower, **text}, vision_config={**tower, **vision})


def save_tiny(folder, kind, seed=0, **sizes):
    """A folder with a model, its tokenizer and its processor; returns the (model, processor) that were saved."""
    import torch
    from transformers import CLIPModel, CLIPProcessor, SiglipModel, SiglipProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    torch.manual_seed(seed)
    if kind == "clip":
        config = clip_config(**sizes)
        side = config.vision_config.image_size
        images = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, do_convert_rgb=True
        )
        model, words = CLIPModel(config), tokenizer(kind, 16)
        processor = CLIPProcessor(images, words)
    else:
        config = siglip_config(**sizes)
        side = config.vision_config.image_size
        images = SiglipImageProcessorPil(size={"height": side, "width": side})
        model, words = SiglipModel(config), tokenizer(kind, 12)
        processor = SiglipProcessor(images, words)
    for tensor in model.parameters():  # the usual start gives all images nearly one embedding
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=0.15)
    model.eval().save_pretrained(str(folder))
    words.save_pretrained(str(folder))
    images.save_pretrained(str(folder))
    return model, processor


@pytest.fixture(scope="session", params=["clip", "siglip"])
def tiny(request, tmp_path_factory):
    """(kind, folder, model, processor) of a tiny checkpoint of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, *save_tiny(folder, request.param)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("only-clip")
    save_tiny(folder, "clip")
    return folder


def drawn(seed, width=None, height=None):
    """A picture of coloured boxes, of a size that the seed draws."""
    rng = np.random.default_rng(seed)
    width, height = width or int(rng.integers(20, 120)), height or int(rng.integers(20, 120))
    image = np.zeros((height, width, 3), np.uint8) + rng.integers(0, 256, 3, dtype=np.uint8)
    for _ in range(6):
        x, y = rng.integers(0, width), rng.integers(0, height)
        image[y : y + rng.integers(3, 40), x : x + rng.integers(3, 40)] = rng.integers(0, 256, 3)
    return Image.fromarray(image)


def encoded(image, format="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def caption(seed, words=5):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))
