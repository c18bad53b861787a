"""Imports between modules, those of types alone included."""

from graphlib import TopologicalSorter

import grimp


def test_no_module_is_imported_by_what_it_imports():
    """However far around: each module can be read after those that it imports.

    But for spans: they are handed in, and where nobody wants them OpenTelemetry is not imported.
    """
    graph = grimp.build_graph("ledger", "pricing", cache_dir=None, exclude_type_checking_imports=False)
    imports = {
        module: graph.find_modules_directly_imported_by(module) - {"ledger.spans"} for module in graph.modules
    }
    order = list(TopologicalSorter(imports).static_order())
    assert len(order) > 200
    assert imports["ledger.app"]
