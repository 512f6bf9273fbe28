"""Which node is asked next."""

from anabranch.search import Search

NODES = (1, 2, 3)


def test_the_known_leader_is_asked_first_and_a_hint_next():
    search = Search(2)
    assert search.next(NODES) == 2
    assert search.refused(3, NODES, 0) == 0
    assert search.next(NODES) == 3


def test_without_a_hint_the_replicas_are_asked_in_turn_with_a_pause_after_each_turn():
    search = Search(None)
    asked, pauses = [], []
    for _ in range(6):
        asked.append(search.next(NODES))
        pauses.append(search.refused(None, NODES, 0.1))
    assert asked == [1, 2, 3, 1, 2, 3]
    assert pauses == [0, 0, 0.025, 0, 0, 0.025]


def test_there_is_a_pause_after_a_hint_that_leads_nowhere_new():
    search = Search(2)
    search.next(NODES)
    assert search.refused(2, NODES, 0) > 0


def test_nodes_that_name_each_other_are_asked_with_pauses():
    search = Search(1)
    pauses = []
    for _ in range(8):
        node = search.next(NODES)
        pauses.append(search.refused(3 - node, NODES, 0))
    assert sum(pause > 0 for pause in pauses) == 2


def test_a_pause_is_never_long():
    search = Search(2)
    search.next(NODES)
    assert search.refused(2, NODES, elapsed=60) == 0.1
