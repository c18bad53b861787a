"""The presets reproduce what their vendors publish, to the micro-credit and to the cent."""

import pytest
from presets_world import priced, table

PUBLISHED = {
    "snowflake": table("""
usage                                                                   | credits   | at    | price
warehouse/xs 5s                                                         |  0.016667 | $2.00 | $0.03
warehouse/xl 61s                                                        |  0.271111 | $3.00 | $0.81
warehouse/xl 120s                                                       |  0.533333 |       |
warehouse/5xl 60s                                                       |  4.266667 |       |
warehouse/xs 10s run=a; warehouse/xs 10s run=b; warehouse/xs 10s run=c  |  0.050000 | $2.00 | $0.10
warehouse/xs 10s run=a start=08:00:00; warehouse/xs 10s run=a start=08:00:20 | 0.033333 | |
warehouse/m 300s run=a start=08:00; warehouse/l 120s run=a start=08:05 from=warehouse/m | 0.600000 | |
warehouse/m 2h x3                                                       | 24.000000 |       |
warehouse/m 2h run=a; warehouse/m 2h run=b; warehouse/m 2h run=c        | 24.000000 |       |
acme/large-open input=1000000 output=234567                             | 14.814804 | $2.00 | $29.63
"""),
    "databricks": table("""
usage                                                                   | DBU        | at    | price
sql/m 437s                                                              |   2.913333 | $1.00 | $2.04
[workload=monitoring] serverless_dbu 5                                  |  10.000000 | $1.00 | $3.70
[workload=jobs] i3.xlarge 2h x4                                         |   8.000000 | $1.00 | $1.20
meta/llama-3.3-70b input=2000000 output=500000                          |  25.000500 | $1.00 | $1.75
[workload=all-purpose] dbu 258.1                                        | 258.100000 | $1.00 | $141.96
"""),
    "zendesk": table("""
usage                                                                   | credits    | at    | price
ticket.resolved RESOLVED x137; ticket.resolved ABANDONED x9;
ticket.resolved ESCALATED x20                                           | 149.000000 | $1.00 | $149.00
"""),
    "agentforce": table("""
usage                                                                   | credits    | at     | price
agent_action_tokens 25001; voice_action 2                               | 120.000000 | $0.005 | $0.60
"""),
    "devin": table("""
usage                                                                   | credits   | at    | price
sandbox 67m; sandbox 40m state=waiting                                  |  4.466667 | $2.25 | $10.05
"""),
    "cost-plus": table("""
usage                                                                   | credits   | at    | price
acme/code-13b output=17500000                                           | 1000.000000 | $0.01 | $10.00
"""),
}
"""By card. The price of a credit is what the row's customer paid for it."""

WHAT_THE_STYLE_SAYS = {
    "snowflake": table("""
usage                                                                   | credits
warehouse/xs 1s; warehouse/xs 58s; warehouse/xs 31s                     |    0.025000
warehouse/6xl 1h                                                        |  512.000000
snowpark/m 1h                                                           |    6.000000
snowpark/6xl 1h                                                         |  768.000000
serverless/clustering 1500ms                                            |    0.001111
"""),
    "devin": table("""
usage                                                                   | credits
sandbox 30m; sandbox 6h state=asleep; sandbox 37m                       |    4.466667
sandbox 1m state=idle                                                   |    0.066667
sandbox 3m state=idle; sandbox 40m state=idle                           |    0.100000
anthropic/claude-sonnet-4-5 input=2000000 output=100000                 |    5.590000
anthropic/claude-sonnet-4-5 input=2000000 output=100000 key=CUSTOMER    |    0.000000
"""),
    "databricks": table("""
usage                                                                   | DBU        | credits
[workload=jobs] m5.xlarge 1h; [workload=all-purpose] m5.xlarge 1h       |   1.380000 | 0.483000
[workload=sql] r5.xlarge 1000s                                          |   0.250000 | 0.055000
[workload=serving] serving/g4dn.xlarge 1h                               |   0.710000 | 0.049700
[workload=pipelines] serverless_dbu 1; [workload=apps] serverless_dbu 1 |   2.000000 | 0.740000
[workload=jobs] serverless_dbu 1; [workload=jobs] dbu 1                 |   2.000000 | 0.520000
sql/xxs 1h; sql/xl 1h                                                   |  84.000000 | 58.800000
"""),
    "databricks-commitment": table("""
usage                                                                   | DBU        | credits
[tier=premium] [workload=jobs] dbu 100; [workload=all-purpose] dbu 10   | 110.000000 | 20.500000
"""),
    "zendesk": table("""
usage                                                                   | credits
ticket.resolved RESOLVED x49; ticket.resolved RESOLVED x2               |    1.500000
ticket.resolved RESOLVED x50 at=2026-10-31T23:59Z;
ticket.resolved RESOLVED at=2026-11-01T00:00Z                           |    0.000000
"""),
    "openrouter": table("""
usage                                                                   | credits
openai/gpt-5 output=1000000                                             |   10.000000
openai/gpt-5 output=1000000 key=CUSTOMER requests=1000000               |    0.000000
openai/gpt-5 output=9 key=CUSTOMER requests=1000000;
openai/gpt-5 output=1000000 key=CUSTOMER                                |    0.500000
openai/gpt-5 output=9 key=CUSTOMER requests=999999;
openai/gpt-5 output=1000000 key=CUSTOMER requests=4                     |    0.375000
"""),
    "platform-fee": table("""
usage                                                                   | credits
openai/gpt-5 output=1000000                                             |   10.000000
openai/gpt-5 output=1000000 by=acme/coder                               |    5.100000
openai/gpt-5 output=1000000 by=acme/coder key=CUSTOMER                  |    2.100000
openai/gpt-5 output=1000000 key=CUSTOMER                                |    0.000000
acme/coder output=1000000 by=openai/gpt-5 key=CUSTOMER                  |    0.000000
acme/coder output=1000000 by=openai/gpt-5 key=CUSTOMER;
openai/gpt-5 output=1000000 by=acme/coder key=CUSTOMER                  |    0.000000
sandbox 1h                                                              |    0.120000
"""),
    "agentforce": table("""
usage                                                                   | credits
agent_action_tokens 10000; agent_action_tokens 1                        |   40.000000
"""),
    "copilot-studio": table("""
usage                                                                   | credits
classic_answer 1; generative_answer 1; agent_action 1; grounding 1      |   18.000000
classic_answer 3; generative_answer 3; agent_action 2; grounding 1      |   29.000000
"""),
    "cost-plus": table("""
usage                                                                   | credits
acme/code-13b output=17500000 key=CUSTOMER                              |  300.000000
acme/code-13b output=17500000 by=acme/large-open                        | 1000.000000
"""),
    "sierra": table("""
usage                                                                   | credits
conversation.resolved RESOLVED of=a; conversation.resolved ESCALATED of=b |    0.990000
cancellation.saved RESOLVED; cancellation.saved FAILED                  |   15.000000
conversation.resolved RESOLVED of=a; conversation.resolved RESOLVED of=a |    0.990000
conversation.resolved FAILED of=a; conversation.resolved RESOLVED of=a;
conversation.resolved RESOLVED of=b                                     |    1.980000
upsell.made RESOLVED; upsell.made ABANDONED                             |   25.000000
conversation.resolved FAILED of=a; openai/gpt-5 input=5000000; sandbox 4h |    0.000000
[outcome=none] sandbox 7h                                               |    1.200000
"""),
    "value": table("""
usage                                                                   | credits
ticket.resolved RESOLVED x3; ticket.resolved ESCALATED                  |    6.000000
task.done RESOLVED x2; task.done FAILED x5; sandbox 2h                  |   10.000000
report.generated RESOLVED; openai/gpt-5 input=1000000                   |   25.000000
hour.saved RESOLVED x7                                                  |  140.000000
error.eliminated RESOLVED; error.eliminated FAILED                      |  100.000000
"""),
}
"""By card: no vendor's figures, but what follows from the card's own."""


def cases(tables):
    """Each row with its card."""
    return [
        pytest.param(card, case, id=f"{card}: {case.usage}") for card, rows in tables.items() for case in rows
    ]


@pytest.mark.parametrize(("card", "case"), cases(PUBLISHED))
def test_published_arithmetic(terms_of, card, case):
    """Credits to six decimals, the price to the cent, as the vendor has them."""
    found = priced(terms_of(card), case.usage)
    if case.credits:
        assert found.credits == case.credits
    if case.measured:
        assert found.measured == {"DBU": case.measured}
    if case.price:
        assert found.price(case.at) == case.price


@pytest.mark.parametrize(("card", "case"), cases(WHAT_THE_STYLE_SAYS))
def test_what_the_style_says(terms_of, card, case):
    """What else the card prices, and what it leaves free."""
    found = priced(terms_of(card), case.usage)
    assert found.credits == case.credits
    if case.measured:
        assert found.measured == {"DBU": case.measured}


def test_snowflake_four_days(terms_of):
    """Cloud services are free up to a tenth of the day's warehouses: 110 + 120 + 80 + 103 credits."""
    days = [("100", "20"), ("120", "10"), ("80", "5"), ("100", "13")]
    usage = "; ".join(
        f"warehouse/xs {warehouse}h at={at}; cloud_services {cloud} at={at}"
        for day, (warehouse, cloud) in enumerate(days, start=2)
        for at in [f"2026-11-{day:02}T12:00Z"]
    )
    found = priced(terms_of("snowflake"), usage)
    assert (found.credits, found.price("$3.00")) == ("413.000000", "$1,239.00")
