"""The image tokenizer: a VQ-VAE whose codes are what masked patches are classified into.

Encoder, codebook and decoder of VQGAN (Esser et al., arXiv 2012.09841), with a codebook that follows running means
(van den Oord et al., arXiv 1711.00937, appendix A). Parts bear the names of the original's checkpoint.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_fashionvil import FASHION_MEAN, FASHION_STD, FashionViLImageTokenizerConfig


@dataclass
class FashionViLImageTokenizerOutput(ModelOutput):
    """What [`FashionViLImageTokenizer.forward`] returns.

    Args:
        loss: () mean squared error of the pictures plus `commitment_weight` times that of the latents.
        reconstruction_loss: () its first part.
        commitment_loss: () its second part, without the factor.
        reconstruction: (batch, 3, size, size) the pictures from their codes, normalised as the network's input.
        codes: (batch, N) numbers of the nearest codes, row by row of the grid.
    """

    loss: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None
    reconstruction: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None


class FashionViLImageTokenizer(PreTrainedModel):
    """Pictures to a grid of codes and back.

    Deviation: the original adds a perceptual loss (LPIPS) in training, for which a VGG with published weights is needed.
    """

    config_class = FashionViLImageTokenizerConfig
    base_model_prefix = "image_tokenizer"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _supports_sdpa = True

    def __init__(self, config: FashionViLImageTokenizerConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.latent_dim, config.code_dim, 1)
        self.quantize = Quantizer(config)
        if config.has_decoder:
            self.post_quant_conv = nn.Conv2d(config.code_dim, config.latent_dim, 1)
            self.decoder = Decoder(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            # PyTorch's own values, as the original's.
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, Codebook):
            init.normal_(module.weight)
            # Deviation: the original begins at 0, and then its first update sends codes that nothing is near to far away.
            init.ones_(module.cluster_size)
            init.copy_(module.embed_avg, module.weight)
        else:
            super()._init_weights(module)

    def latents(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, 3, size, size) normalised by FashionViL's constants -> (batch, N, code_dim) before the codebook."""
        grid = self.quant_conv(self.encoder(self._as_trained(pixel_values)))
        return grid.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The codes of pictures, in evaluation mode and in chunks, whatever their number.

        Args:
            pixel_values: (batch, 3, size, size), normalised by FashionViL's constants.

        Returns:
            (batch, N) numbers of codes, row by row of the grid from the top left.
        """
        size = self.config.chunk_size or (8 if pixel_values.device.type == "cpu" else 64)
        parts = [self.quantize(self.latents(part)) for part in pixel_values.split(size)]
        return torch.cat(parts) if parts else torch.empty(0, self.config.grid_size**2, dtype=torch.long)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """(batch, N) codes -> (batch, 3, size, size) pictures, normalised as the network's input.

        Raises:
            ValueError: the model has no decoder.
        """
        return self._decode_latents(self.quantize.vectors(codes))

    def forward(
        self, pixel_values: torch.Tensor, return_dict: bool | None = None
    ) -> FashionViLImageTokenizerOutput | tuple:
        """Pictures through codes and back; in training mode the codebook follows the batch.

        Args:
            pixel_values: (batch, 3, size, size), normalised by FashionViL's constants.
            return_dict: False for a tuple.

        Raises:
            ValueError: the model has no decoder.
        """
        latents = self.latents(pixel_values)
        codes = self.quantize(latents)
        vectors = self.quantize.vectors(codes).to(latents.dtype)
        if self.training:
            self.quantize.embedding.update(latents.detach(), codes)
        # Gradients pass the codebook as if it weren't there.
        reconstruction = self._decode_latents(latents + (vectors - latents).detach())
        reconstruction_loss = F.mse_loss(reconstruction.float(), self._as_trained(pixel_values).float())
        commitment_loss = F.mse_loss(latents.float(), vectors.float())
        output = FashionViLImageTokenizerOutput(
            loss=reconstruction_loss + self.config.commitment_weight * commitment_loss,
            reconstruction_loss=reconstruction_loss,
            commitment_loss=commitment_loss,
            reconstruction=reconstruction,
            codes=codes,
        )
        return output if return_dict is not False else output.to_tuple()

    def _decode_latents(self, vectors: torch.Tensor) -> torch.Tensor:
        if not self.config.has_decoder:
            raise ValueError(
                "This image tokenizer has no decoder (the official file holds the encoder alone): `encode` gives codes; "
                "pictures need a tokenizer trained with has_decoder."
            )
        side = round(vectors.shape[1] ** 0.5)
        grid = vectors.transpose(1, 2).unflatten(2, (side, side))
        return self.decoder(self.post_quant_conv(grid))

    def _as_trained(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The pictures in the range that the network was trained with."""
        pixel_values = pixel_values.to(self.dtype)
        if self.config.input_mean is None:
            return pixel_values
        mean, std, own_mean, own_std = (
            pixel_values.new_tensor(list(values)).view(3, 1, 1)
            for values in (FASHION_MEAN, FASHION_STD, self.config.input_mean, self.config.input_std)
        )
        return (pixel_values * std + mean - own_mean) / own_std


class Quantizer(nn.Module):
    """Nearest code by squared Euclidean distance."""

    def __init__(self, config: FashionViLImageTokenizerConfig) -> None:
        super().__init__()
        self.embedding = Codebook(config)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """(batch, N, code_dim) -> (batch, N) codes."""
        with torch.autocast(latents.device.type, enabled=False):
            latents, codes = latents.float(), self.embedding.weight.float()
            # |x - c|^2 without |x|^2, which is the same for every code.
            return (codes.square().sum(-1) - 2 * latents @ codes.T).argmin(-1)

    def vectors(self, codes: torch.Tensor) -> torch.Tensor:
        """(batch, N) codes -> (batch, N, code_dim)."""
        return F.embedding(codes, self.embedding.weight)


class Codebook(nn.Module):
    """Codes that are running means of the latents nearest to them; no gradient reaches them."""

    # Added to the counts, so that a code which nothing is near to keeps a finite mean.
    eps = 1e-5

    def __init__(self, config: FashionViLImageTokenizerConfig) -> None:
        super().__init__()
        self.decay = config.ema_decay
        shape = (config.num_codes, config.code_dim)
        self.register_buffer("weight", torch.zeros(shape))
        self.register_buffer("cluster_size", torch.zeros(config.num_codes))
        self.register_buffer("embed_avg", torch.zeros(shape))

    @torch.no_grad()
    def update(self, latents: torch.Tensor, codes: torch.Tensor) -> None:
        """Follow a batch: (batch, N, code_dim) latents and their (batch, N) codes, of all processes together."""
        latents, codes = latents.flatten(0, 1).float(), codes.flatten()
        counts = torch.bincount(codes, minlength=len(self.weight)).float()
        sums = torch.zeros_like(self.embed_avg, dtype=torch.float32).index_add_(0, codes, latents)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(sums)
        self.cluster_size.lerp_(counts.to(self.cluster_size.dtype), 1 - self.decay)
        self.embed_avg.lerp_(sums.to(self.embed_avg.dtype), 1 - self.decay)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + self.eps) / (total + len(self.weight) * self.eps) * total
        self.weight.copy_(self.embed_avg / smoothed[:, None])


class Encoder(nn.Module):
    """(batch, 3, size, size) -> (batch, latent_dim, grid, grid)."""

    def __init__(self, config: FashionViLImageTokenizerConfig) -> None:
        super().__init__()
        groups = config.group_norm_groups
        self.conv_in = nn.Conv2d(3, config.hidden_dim, 3, padding=1)
        self.down = nn.ModuleList()
        channels, resolution = config.hidden_dim, config.image_size
        for number, factor in enumerate(config.channel_multipliers):
            attends = resolution in config.attention_resolutions
            level = Level(channels, config.hidden_dim * factor, config.num_res_blocks, attends, groups)
            channels = config.hidden_dim * factor
            if number < len(config.channel_multipliers) - 1:
                level.downsample = Downsample(channels)
                resolution //= 2
            self.down.append(level)
        self.mid = Middle(channels, groups)
        self.norm_out = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, config.latent_dim, 3, padding=1)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        states = self.conv_in(pixel_values)
        for level in self.down:
            states = level(states)
            if hasattr(level, "downsample"):
                states = level.downsample(states)
        return self.conv_out(F.silu(self.norm_out(self.mid(states))))


class Decoder(nn.Module):
    """The encoder's mirror image: (batch, latent_dim, grid, grid) -> (batch, 3, size, size)."""

    def __init__(self, config: FashionViLImageTokenizerConfig) -> None:
        super().__init__()
        groups = config.group_norm_groups
        channels = config.hidden_dim * config.channel_multipliers[-1]
        resolution = config.grid_size
        self.conv_in = nn.Conv2d(config.latent_dim, channels, 3, padding=1)
        self.mid = Middle(channels, groups)
        self.up = nn.ModuleList()
        for number, factor in enumerate(reversed(config.channel_multipliers)):
            attends = resolution in config.attention_resolutions
            level = Level(channels, config.hidden_dim * factor, config.num_res_blocks + 1, attends, groups)
            channels = config.hidden_dim * factor
            if number < len(config.channel_multipliers) - 1:
                level.upsample = Upsample(channels)
                resolution *= 2
            self.up.append(level)
        self.norm_out = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        states = self.mid(self.conv_in(grid))
        for level in self.up:
            states = level(states)
            if hasattr(level, "upsample"):
                states = level.upsample(states)
        return self.conv_out(F.silu(self.norm_out(states)))


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention if wanted."""

    def __init__(self, channels: int, out_channels: int, num_blocks: int, attends: bool, groups: int) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * num_blocks
        pairs = zip(widths, widths[1:], strict=False)
        self.block = nn.ModuleList(ResidualBlock(before, after, groups) for before, after in pairs)
        self.attn = nn.ModuleList(SelfMixing(out_channels, groups) for _ in range(num_blocks if attends else 0))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for number, block in enumerate(self.block):
            states = block(states)
            if self.attn:
                states = self.attn[number](states)
        return states


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = SelfMixing(channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.block_2(self.attn_1(self.block_1(states)))


class ResidualBlock(nn.Module):
    """Two times norm, swish and convolution, beside the input."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(F.silu(self.norm1(states)))
        inner = self.conv2(F.silu(self.norm2(inner)))
        return inner + (self.nin_shortcut(states) if hasattr(self, "nin_shortcut") else states)


# Not named for the attention that it is: by that word transformers would expect another implementation to plug in.
class SelfMixing(nn.Module):
    """Attention with one head over the places of the grid, beside the input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.norm(states)
        query, key, value = (part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return states + self.proj_out(mixed.transpose(1, 2).unflatten(2, states.shape[2:]))


class Downsample(nn.Module):
    """Half the resolution; one pixel is added on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(states, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(states, scale_factor=2.0, mode="nearest"))


FashionViLImageTokenizer.register_for_auto_class("AutoModel")

__all__ = ["FashionViLImageTokenizer", "FashionViLImageTokenizerOutput"]
