"""What was measured on a GPU."""

from collections.abc import Sequence
from statistics import median

from repro.harness.published import published
from repro.harness.result import Measured
from repro.harness.schema import Series
from repro.kinds.gpu import keys
from repro.kinds.gpu.declare import Aim, GpuPage, KernelCase, Scope


class GpuResult(Measured[GpuPage]):
    """Times and what they are compared with; the paper's own are on the page of Table 3."""

    @property
    def is_smoke(self) -> bool:
        """Whether all that these records show is that it runs."""
        return bool(self.records.runs[0].config["smoke"])

    @property
    def scope(self) -> Scope:
        """Sizes that were measured."""
        return self.experiment.scope(self.is_smoke)

    def seconds(self, variant: str) -> float | None:
        """Median over rounds."""
        found = self.series(variant, keys.SECONDS)
        return median(found.values) if found else None

    def ratio(self, variant: str) -> float | None:
        """A provider's time by the baseline's: the median of the ratios within a round."""
        own, base = self.series(variant, keys.SECONDS), self.series(variant, keys.BASELINE)
        return median(_ratios(own, base)) if own and base else None

    def roofline(self, variant: str, flops: float | None, dtype: str) -> float | None:
        """Share of the time that the FLOPs need at the fastest product's rate."""
        rate, seconds = self.value(keys.matmul(dtype), keys.RATE), self.seconds(variant)
        return flops / rate / seconds if flops and rate and seconds else None

    def steps_flops(self, part: str, model: str, preset: str) -> float | None:
        """FLOPs of the steps of one image."""
        return self.value(keys.work(part, model, preset), keys.FLOPS)

    def kernel_roofline(self, case: KernelCase, provider: str) -> float | None:
        """Share of the least time, by FLOPs or by bytes, whichever bounds the operator."""
        variant = keys.kernel(case.name, provider)
        moved, copied = self.value(variant, keys.BYTES), self.value(keys.COPY, keys.RATE)
        seconds = self.seconds(variant)
        if moved and copied and seconds:
            return moved / copied / seconds
        return self.roofline(variant, self.value(variant, keys.FLOPS), self.scope.dtype)

    def once(self, variants: Sequence[str]) -> float | None:
        """Seconds of all that is done once, together."""
        found = [self.value(variant, keys.ONCE) for variant in variants]
        extra = [seconds for seconds in found if seconds is not None]
        return max(0.0, sum(extra)) if extra else None

    def ideal(self, model: str) -> float | None:
        """FLOPs of full-scale by those of scale-wise."""
        fast, slow = (self.steps_flops("sampling", model, preset) for preset in self.experiment.ratio)
        return slow / fast if fast and slow else None

    def speedup(self, model: str, batch: int, provider: str) -> float | None:
        """Time of full-scale by that of scale-wise, of the same provider."""
        fast, slow = (self.seconds(keys.sampling(model, preset, batch, provider)) for preset in self.experiment.ratio)
        return slow / fast if fast and slow else None

    def published(self, model: str, row: str) -> float | None:
        """The paper's seconds of an image of a row of Table 3 (v1); None in a smoke run, and where it has none."""
        setup, steps = self.scope.table_rows[row]
        wanted = {"source": "v1", "model": self.scope.table_models[model], "setup": setup, "steps": steps}
        lines = published(self.experiment.times)
        found = [line for line in lines if all(line[name] == cell for name, cell in wanted.items())]
        return float(found[0]["latency_s_per_image"]) if found and not self.is_smoke else None

    def failures(self, part: str) -> list[tuple[str, str]]:
        """Items of a part that failed, with their errors; the item is empty where the part could not start."""
        found = [r for r in self.records.records if r.metric == keys.FAILED and r.value is None]
        return [(r.variant.partition(": ")[2], r.note) for r in found if keys.of_part(r.variant, part)]

    def aimed(self, aim: Aim) -> float | None:
        """The number that an aim is about, in the unit shown; None where it was not measured."""
        if self.is_smoke:
            return None
        value: float | None = getattr(self, f"_aimed_{aim.kind}")(*aim.of)
        return None if value is None else value * aim.unit

    def best(self, model: str, preset: str, batch: int) -> str | None:
        """The fastest provider."""
        timed = {key: self.seconds(keys.sampling(model, preset, batch, key)) for key in self.scope.providers}
        measured = {key: seconds for key, seconds in timed.items() if seconds is not None}
        return min(measured, key=lambda key: measured[key]) if measured else None

    def _aimed_sampling(self, model: str, preset: str, batch: int) -> float | None:
        best = self.best(model, preset, batch)
        return None if best is None else self.seconds(keys.sampling(model, preset, batch, best))

    def _aimed_scalewise(self, model: str, batch: int) -> float | None:
        """Of the provider that is fastest at full scale: a slow full-scale run would flatter the ratio."""
        best, ideal = self.best(model, self.experiment.ratio[1], batch), self.ideal(model)
        speedup = None if best is None else self.speedup(model, batch, best)
        return speedup / ideal if speedup and ideal else None

    def _kernel(self, operator: str, *shape: int) -> KernelCase | None:
        return next((c for c in self.scope.kernels if (c.operator, c.shape) == (operator, shape)), None)

    def _aimed_kernel(self, operator: str, *shape: int) -> float | None:
        case = self._kernel(operator, *shape)
        timed = [self.seconds(keys.kernel(case.name, provider)) for provider in case.providers] if case else []
        return min((seconds for seconds in timed if seconds is not None), default=None)

    def _aimed_memory(self, operator: str, *shape: int) -> float | None:
        case = self._kernel(operator, *shape)
        found = [self.value(keys.kernel(case.name, p), keys.PEAK_BYTES) for p in case.providers] if case else []
        return min((peak for peak in found if peak is not None), default=None)

    def _aimed_training(self) -> float | None:
        lean, plain = (self.series(keys.training(order), keys.SECONDS) for order in ("lean", "plain"))
        return median(_ratios(lean, plain)) if lean and plain else None


def _ratios(own: Series, base: Series) -> list[float]:
    return [mine / theirs for mine, theirs in zip(own.values, base.values, strict=True)]
