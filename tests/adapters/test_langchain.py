"""LangChain's own suite for vector stores and embeddings, and what is particular to this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="the adapters' environment is made by `make test-all`")

from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, VectorStoreIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from maas import PersonalMemoryBrain, Settings
from maas.compat.langchain import MaasEmbeddings, MaasVectorStore
from tests.fakes import FakeEmbedder


def open_brain(folder: Path) -> PersonalMemoryBrain:
    return PersonalMemoryBrain(Settings(data_dir=folder), embedder=FakeEmbedder())


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        with open_brain(tmp_path) as brain:
            yield MaasVectorStore(brain)


class TestVectorStoreOverHttp(VectorStoreIntegrationTests):
    has_async = False

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        from maas.client import MaasClient
        from tests.live import serving

        with serving(tmp_path) as live, MaasClient(live.url, api_key=live.admin_key) as client:
            yield MaasVectorStore(client)


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MaasEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"memories": self._brain}

    @pytest.fixture(autouse=True)
    def _open(self, tmp_path: Path) -> Iterator[None]:
        with open_brain(tmp_path) as brain:
            self._brain = brain
            yield


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MaasEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"memories": None}


@pytest.fixture
def store(brain: PersonalMemoryBrain) -> MaasVectorStore:
    return MaasVectorStore(brain, user_id="ana")


def test_scores_filters_and_a_retriever(store: MaasVectorStore) -> None:
    store.add_texts(["tea in Oslo", "tea in Lima"], [{"city": "Oslo"}, {"city": "Lima"}], ids=["1", "2"])
    ((document, score),) = store.similarity_search_with_relevance_scores("tea in Oslo", k=1)
    assert (document.id, document.metadata) == ("1", {"city": "Oslo"})
    assert 0 < score <= 1
    assert [d.id for d in store.similarity_search("tea", filter={"city": "Lima"})] == ["2"]
    either = {"OR": [{"city": "Lima"}, {"city": {"in": ["Oslo"]}}]}
    assert len(store.similarity_search("tea", filter=either)) == 2
    assert [d.id for d in store.similarity_search("tea", filter={"NOT": {"city": "Lima"}})] == ["1"]
    assert [d.id for d in store.similarity_search("tea", filter={"NOT": [{"city": "Lima"}]})] == ["1"]
    assert [d.id for d in store.as_retriever(search_kwargs={"k": 1}).invoke("Lima")] == ["2"]


def test_documents_of_others_stay(brain: PersonalMemoryBrain, store: MaasVectorStore) -> None:
    MaasVectorStore(brain, user_id="bo").add_texts(["theirs"], ids=["1"])
    store.add_texts(["mine"], ids=["1"])
    store.delete()
    assert store.get_by_ids(["1"]) == []
    assert [d.page_content for d in MaasVectorStore(brain, user_id="bo").get_by_ids(["1"])] == ["theirs"]


def test_from_texts_takes_maass_own_embeddings(brain: PersonalMemoryBrain) -> None:
    store = MaasVectorStore.from_texts(["a text"], MaasEmbeddings(brain), ids=["x"])
    assert [d.id for d in store.similarity_search("a text")] == ["x"]
    with pytest.raises(TypeError, match="DeterministicFakeEmbedding"):
        MaasVectorStore.from_texts(["a text"], DeterministicFakeEmbedding(size=6))


def test_what_does_not_fit_is_refused(store: MaasVectorStore) -> None:
    with pytest.raises(ValueError, match="2 texts, 1 metadatas"):
        store.add_texts(["a", "b"], [{}])
