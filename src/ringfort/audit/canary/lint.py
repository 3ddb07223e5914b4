"""Says what the privacy settings of a Flower or NVFlare project really give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ringfort.audit.canary.design import classical_epsilon
from ringfort.audit.canary.sources import Call, Project, read_project
from ringfort.audit.finding import Finding, Severity, worst_first
from ringfort.privacy.tradeoff import gdp_epsilon

__all__ = ["lint"]

_DELTA = 1e-5


def lint(folder: Path) -> tuple[Finding, ...]:
    """Read a project's privacy settings and say what they give, the most severe finding first.

    Args:
        folder: a Flower app or an NVFlare job or workspace. Read, never imported or run.

    Does not protect against: values that only running the project would tell, which are reported as unread; code that
        does not use the two frameworks' own privacy parts.

    Raises:
        DataUnavailable (RF106): the folder cannot be read.
    """
    project = read_project(folder)
    findings = [finding for call in project.calls for finding in _of_call(call, project)]
    if not findings:
        findings.append(
            Finding(
                "no privacy settings",
                Severity.INFO,
                "No privacy mod, strategy or filter of Flower or NVFlare is used in the files that could be read.",
                "Whoever reads the updates is limited by nothing: membership inference and reconstruction show it.",
                "Add a mechanism with a claim, and audit the claim.",
            )
        )
    if project.unreadable:
        listed = ", ".join(project.unreadable[:5])
        findings.append(
            Finding(
                "unread files",
                Severity.MEDIUM,
                f"{len(project.unreadable)} files could not be read: {listed}.",
                "They are not valid, or too large; settings in them are not in these findings.",
                "Correct them, or check them by hand.",
            )
        )
    return worst_first(findings)


def _of_call(call: Call, project: Project) -> list[Finding]:
    check = _CHECKS.get(call.name)
    return [] if check is None else check(call, project)


def _unread(call: Call, what: str) -> Finding:
    return Finding(
        "unread setting",
        Severity.MEDIUM,
        f"{call.name}: {what} is only known when the project runs.",
        "Nothing can be said about what it gives.",
        "Write the value where it can be read, or audit the running mechanism with canaries.",
        call.where,
    )


def _local_dp(call: Call, project: Project) -> list[Finding]:  # noqa: ARG001 - one signature for all checks
    clip, sensitivity = call.number("clipping_norm", 0), call.number("sensitivity", 1)
    epsilon, delta = call.number("epsilon", 2), call.number("delta", 3)
    if clip is None or sensitivity is None or epsilon is None or delta is None:
        return [_unread(call, "clipping_norm, sensitivity, epsilon or delta")]
    if min(clip, sensitivity, epsilon, delta) <= 0 or delta >= 1:
        return [_unread(call, "a value inside its domain")]
    ratio = 2 * clip / sensitivity
    once = classical_epsilon(epsilon, delta, ratio)
    often = classical_epsilon(epsilon, delta, ratio, rounds=50)
    return [
        Finding(
            "LocalDpMod",
            Severity.HIGH if once > epsilon * (1 + 1e-6) else Severity.MEDIUM,
            f"clipping_norm {clip:g}, sensitivity {sensitivity:g}, epsilon {epsilon:g}, delta {delta:g}.",
            f"Two updates clipped to {clip:g} differ by up to {2 * clip:g}, so one round really spends epsilon "
            f"{once:.4g}; nothing adds rounds up, and 50 rounds spend {often:.4g}. The noise is drawn in floating "
            "point from an ordinary generator.",
            f"Set sensitivity to {2 * clip:g}, calibrate with the analytic Gaussian mechanism, and count all rounds.",
            call.where,
        )
    ]


def _dp_strategy(call: Call, project: Project) -> list[Finding]:
    z, sampled = (
        call.number("noise_multiplier", 1),
        call.number("num_sampled_clients", 3 if "Fixed" in call.name else 2),
    )
    if z is None:
        return [_unread(call, "noise_multiplier")]
    findings = []
    if z <= 0:
        findings.append(
            Finding(
                call.name,
                Severity.HIGH,
                "noise_multiplier is 0.",
                "Clipping alone is no differential privacy.",
                "Choose a noise multiplier from the epsilon that is wanted.",
                call.where,
            )
        )
    else:
        epsilon, many = (gdp_epsilon(rounds**0.5 / z, _DELTA) for rounds in (1, 100))
        cohort = "" if sampled is None else f", {sampled:g} clients a round"
        findings.append(
            Finding(
                call.name,
                Severity.MEDIUM if many > 10 else Severity.INFO,
                f"noise_multiplier {z:g}{cohort}.",
                f"Against readers of the model only (the server sees every update): epsilon {epsilon:.4g} for one "
                f"round and {many:.4g} for 100 at delta {_DELTA:g}, one client more or fewer. Cohorts of a fixed size "
                "earn no discount for Poisson sampling. The noise is drawn in floating point from an ordinary "
                "generator.",
                "State epsilon for all rounds, without a discount for sampling that does not happen.",
                call.where,
            )
        )
    mod = "adaptiveclipping_mod" if "Adaptive" in call.name else "fixedclipping_mod"
    if "ClientSide" in call.name and mod not in project.names:
        findings.append(
            Finding(
                "clipping at nobody",
                Severity.HIGH,
                f"{call.name} leaves clipping to the clients, and no client uses {mod}.",
                "An update that nobody clips has no bound, so the noise covers nothing.",
                f"Add {mod} to the client app's mods, or clip at the server.",
                call.where,
            )
        )
    return findings


def _secagg(call: Call, project: Project) -> list[Finding]:
    findings = []
    shares, threshold = call.value("num_shares", 0, None), call.value("reconstruction_threshold", 1, None)
    share_like = isinstance(shares, (int, float)) and isinstance(threshold, (int, float))
    if share_like and (isinstance(shares, float) == isinstance(threshold, float)) and 2 * threshold <= shares:
        findings.append(
            Finding(
                "reconstruction threshold",
                Severity.HIGH,
                f"{call.name}: {threshold:g} of {shares:g} shares reconstruct.",
                "With a threshold of half the shares or less, a server that tells two halves different things learns "
                "both kinds of secrets and unmasks an update.",
                "Choose a threshold above one half; two thirds against a hostile server.",
                call.where,
            )
        )
    noisy = any(name.startswith("DifferentialPrivacy") or name == "LocalDpMod" for name in project.names)
    findings.append(
        Finding(
            call.name,
            Severity.INFO if noisy else Severity.MEDIUM,
            "Secure aggregation hides single updates from a server that follows the protocol"
            + (", beside differential privacy." if noisy else ", and there is no noise."),
            "The sum itself is not protected: a manipulated model makes it hold readable examples, and members of the "
            "cohort stay detectable. Weights and clipping ranges are the clients' own word.",
            "Add noise to the sum, a minimum cohort, and clients that check the model they are asked to train.",
            call.where,
        )
    )
    return findings


def _svt(call: Call, project: Project) -> list[Finding]:  # noqa: ARG001 - one signature for all checks
    fraction, epsilon = call.number("fraction", 0, 0.1), call.number("epsilon", 1, 0.1)
    noise, release = call.number("noise_var", 2, 0.1), call.number("epsilon_release", 9)
    if fraction is None or epsilon is None or noise is None:
        return [_unread(call, "fraction, epsilon or noise_var")]
    per_million = epsilon + (release if release is not None else fraction * 1e6 * noise)
    return [
        Finding(
            "SVTPrivacy",
            Severity.HIGH if per_million > 10 else Severity.MEDIUM,
            f"fraction {fraction:g}, epsilon {epsilon:g}, noise_var {noise:g}.",
            "Epsilon pays for selecting coordinates only; each one that is sent spends noise_var more. For a model of "
            f"a million parameters one round spends epsilon {per_million:,.1f}, and rounds add up.",
            "Do not quote its epsilon argument. Use a clipped Gaussian mechanism with an accountant.",
            call.where,
        )
    ]


def _percentile(call: Call, project: Project) -> list[Finding]:  # noqa: ARG001 - one signature for all checks
    return [
        Finding(
            call.name,
            Severity.HIGH,
            f"{call.name} as a privacy filter.",
            "It drops and truncates values and adds no noise: there is no epsilon, in any number of rounds.",
            "Call it compression. For privacy add a mechanism with a claim.",
            call.where,
        )
    ]


def _encryption(call: Call, project: Project) -> list[Finding]:  # noqa: ARG001 - one signature for all checks
    return [
        Finding(
            call.name,
            Severity.INFO,
            "Updates are encrypted homomorphically.",
            "The server reads nothing; every client holds the key and reads every total, and a client that works with "
            "the server reads every update. The model that comes out is as informative as without.",
            "Add noise for what the totals and the model reveal, and keep the key from whoever runs the server.",
            call.where,
        )
    ]


_CHECKS: dict[str, Callable[[Call, Project], list[Finding]]] = {
    "LocalDpMod": _local_dp,
    "DifferentialPrivacyServerSideFixedClipping": _dp_strategy,
    "DifferentialPrivacyClientSideFixedClipping": _dp_strategy,
    "DifferentialPrivacyServerSideAdaptiveClipping": _dp_strategy,
    "DifferentialPrivacyClientSideAdaptiveClipping": _dp_strategy,
    "SecAggPlusWorkflow": _secagg,
    "SecAggWorkflow": _secagg,
    "SVTPrivacy": _svt,
    "PercentilePrivacy": _percentile,
    "ExcludeVars": _percentile,
    "HEModelEncryptor": _encryption,
}
