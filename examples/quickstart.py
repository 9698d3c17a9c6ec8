"""The first five minutes: decorate what runs a workflow and what runs a step, and ask how it went.

    python examples/quickstart.py
    analytics-sdk stats

Records go to analytics.db in the working folder.
"""

from analytics_sdk import configure, recovery_attempt, track_step, track_workflow

PRICES = {"coffee": "3.20", "tea": "2.80", "cake": "four"}


@track_step(node_id="price-{product}", action_type="parse")
def price_of(product: str) -> float:
    """A step; where its text is no number, a second way of reading it heals the step."""
    text = PRICES[product]
    try:
        return float(text)
    except ValueError:
        with recovery_attempt("spelled_out"):
            return {"three": 3.0, "four": 4.0}[text]


@track_workflow(workflow_id="bill", total_steps=lambda products: len(products))
def bill(products: list[str]) -> float:
    """A workflow: its steps are those that run inside it."""
    return sum(price_of(product) for product in products)


def main() -> None:
    """Three bills: one that works, one that is healed, one that fails."""
    system = configure(sink="sqlite:///analytics.db")
    for products in (["coffee", "tea"], ["tea", "cake"], ["coffee", "wine"]):
        try:
            print(f"{' and '.join(products)}: {bill(products):.2f}")
        except KeyError as missing:
            print(f"{' and '.join(products)}: there is no {missing}")

    stats = system.stats("bill")
    rate = stats["success_rate"]
    print(f"{rate['succeeded']} of {rate['n']} bills worked, {rate['first_pass_rate']:.0f} % at first pass")
    for step in stats["steps"]:
        print(f"  {step['node_id']}: {step['n']} times, {step['recovered']} healed")
    for error in stats["errors"]:
        print(f"  {error['error_type']}: {error['n']} times")


if __name__ == "__main__":
    main()
