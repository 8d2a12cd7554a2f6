"""Key and chain files: checked as a pair, replaced without a pause."""

import os
import stat
import threading

import pytest
from msgspec import structs
from simulator import NOW, other_curve_key

from zhenxian.certs import ca, keys
from zhenxian.certs.keys import Credential, KeyStore, load_credential
from zhenxian.core.errors import ConfigError
from zhenxian.passport.jws import VerifyingKey

X5U = "https://cert.example.org/chain.pem"


class Files:
    def __init__(self, folder, carrier):
        self.key = folder / "key.pem"
        self.chain = folder / "chain.pem"
        self.carrier = carrier
        self.write()

    def write(self):
        self.write_key()
        self.write_chain()

    def write_key(self, content=None):
        new = self.key.with_suffix(".new")
        new.write_bytes(self.carrier.key_pem if content is None else content)
        new.chmod(0o600)
        new.rename(self.key)

    def write_chain(self, content=None):
        new = self.chain.with_suffix(".new")
        new.write_bytes(self.carrier.chain_pem if content is None else content)
        new.rename(self.chain)

    def load(self, **arguments):
        return load_credential(self.key, self.chain, **{"x5u": X5U, **arguments})

    def store(self):
        return KeyStore(self.key, self.chain, x5u=X5U)

    def refused(self, match):
        with pytest.raises(ConfigError, match=match) as caught:
            self.load()
        assert "PRIVATE" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def files(tmp_path, world):
    return Files(tmp_path, world.carrier("1234"))


def fits(credential):
    """True when the key signs what the chain's certificate verifies."""
    verifying = VerifyingKey(credential.chain.certificates[0].public_key())
    return verifying.verifies(b"header.payload", credential.key.sign(b"header.payload"))


class TestLoading:
    def test_a_good_pair(self, files):
        credential = files.load()
        assert credential.spc == "1234"
        assert credential.x5u == X5U
        assert credential.chain_pem == files.carrier.chain_pem
        assert credential.chain.digest == files.carrier.chain.digest
        assert NOW < credential.not_after == credential.chain.not_after
        assert fits(credential)

    def test_x5u_may_depend_on_the_chain(self, files):
        seen = []

        def x5u(chain, chain_pem):
            seen.append((chain.spc, chain_pem))
            return X5U + "x"

        assert files.load(x5u=x5u).x5u == X5U + "x"
        assert seen == [("1234", files.carrier.chain_pem)]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o620, 0o777, 0o644])
    def test_a_key_others_may_touch_is_refused_with_the_remedy(self, files, mode):
        files.key.chmod(mode)
        assert f"chmod 600 {files.key}" in files.refused(f"{mode:04o}")

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
    def test_a_key_of_its_owner_alone(self, files, mode):
        files.key.chmod(mode)
        assert files.load()

    def test_the_target_of_a_link_is_what_counts(self, files, tmp_path):
        link = tmp_path / "link.pem"
        link.symlink_to(files.key)
        assert load_credential(link, files.chain, x5u=X5U)
        files.key.chmod(0o644)
        with pytest.raises(ConfigError, match="chmod 600"):
            load_credential(link, files.chain, x5u=X5U)

    def test_a_key_of_another_user_is_refused(self, files, monkeypatch):
        real = os.fstat
        owner = 54321

        def fstat(descriptor):
            status = list(real(descriptor))
            status[stat.ST_UID] = owner
            return os.stat_result(status)

        monkeypatch.setattr(keys.os, "fstat", fstat)
        files.refused("chown")
        monkeypatch.setattr(keys.os, "geteuid", lambda: owner)
        assert files.load()
        owner = 0
        monkeypatch.setattr(keys.os, "geteuid", lambda: 1000)
        assert files.load()

    def test_a_key_that_is_not_the_certificates(self, files):
        files.write_key(ca.key_pem(ca.new_key()))
        files.refused("is not the key of the first certificate")

    def test_a_chain_in_the_wrong_order(self, files):
        blocks = files.carrier.chain_pem.split(b"-----BEGIN")
        files.write_chain(b"-----BEGIN" + blocks[2] + b"-----BEGIN" + blocks[1])
        files.refused("first certificate")

    def test_another_curve(self, files):
        files.write_key(ca.key_pem(other_curve_key()))
        files.refused("P-256")

    @pytest.mark.parametrize("content", [b"", b"nothing", b"-----BEGIN EC PRIVATE KEY-----\nAA\n",
                                         b"\0" * 100_000])  # fmt: skip
    def test_what_is_no_key(self, files, content):
        files.write_key(content)
        files.refused("key.pem")

    @pytest.mark.parametrize("content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAA\n",
                                         b"\0" * 100_000])  # fmt: skip
    def test_what_is_no_chain(self, files, content):
        files.write_chain(content)
        files.refused("chain.pem")

    @pytest.mark.parametrize("name", ["key", "chain"])
    def test_missing(self, files, name):
        getattr(files, name).unlink()
        files.refused("No such file")

    def test_a_folder_is_no_key(self, files, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir(mode=0o700)
        with pytest.raises(ConfigError):
            load_credential(folder, files.chain, x5u=X5U)

    def test_the_key_never_shows(self, files):
        credential = files.load()
        number = format(files.carrier.private_key.private_numbers().private_value, "x")
        for text in (repr(credential), str(credential), f"{credential}", repr((credential,))):
            assert number not in text
            assert "key" not in text.lower()
        assert "1234" in repr(credential)


class TestReplacing:
    def test_nothing_changed(self, files):
        store = files.store()
        before = store.current
        assert store.reload_if_changed() is False
        assert store.current is before
        assert store.problem is None

    def test_a_new_pair(self, files):
        store = files.store()
        before = store.current
        files.carrier.renew()
        files.write()
        assert store.reload_if_changed() is True
        assert store.current.chain_pem == files.carrier.chain_pem != before.chain_pem
        assert fits(store.current)
        assert store.reload_if_changed() is False

    def test_a_pair_for_later_waits_until_it_is_valid(self, files):
        store = files.store()
        before = store.current
        files.carrier.renew()
        files.write()
        begin = load_credential(files.key, files.chain, x5u=X5U).not_before
        assert begin == max(
            int(one.not_valid_before_utc.timestamp()) for one in files.carrier.chain.certificates
        )
        # As if the pair in use had been valid before.
        store.current = before = structs.replace(before, not_before=begin - 100)
        for now in (begin - 50, begin - 1):
            assert store.reload_if_changed(now) is False
            assert store.current is before
            assert "is not valid before 20" in store.problem
        assert store.reload_if_changed(begin) is True
        assert store.problem is None
        assert fits(store.current)

    @pytest.mark.parametrize("first", ["key", "chain"])
    def test_one_file_after_the_other(self, files, first):
        store = files.store()
        before = store.current
        files.carrier.renew()
        files.write_key() if first == "key" else files.write_chain()
        for _ in range(3):
            assert store.reload_if_changed() is False
            assert store.current is before
            assert "still in use" in store.problem
        files.write_chain() if first == "key" else files.write_key()
        assert store.reload_if_changed() is True
        assert store.problem is None
        assert fits(store.current)

    def test_a_renewed_certificate_of_the_same_key(self, files):
        store = files.store()
        files.carrier.certificate.reissue()
        files.write_chain()
        assert store.reload_if_changed() is True
        assert store.current.chain.digest == files.carrier.chain.digest

    @pytest.mark.parametrize(
        "breakage",
        [
            lambda files: files.key.unlink(),
            lambda files: files.chain.unlink(),
            lambda files: files.write_key(b""),
            lambda files: files.write_chain(files.carrier.chain_pem[:200]),
            lambda files: files.key.chmod(0o644),
            lambda files: files.write_key(ca.key_pem(other_curve_key())),
        ],
    )
    def test_a_broken_file_leaves_the_old_pair_in_use(self, files, breakage):
        store = files.store()
        before = store.current
        breakage(files)
        assert store.reload_if_changed() is False
        assert store.current is before
        assert store.problem is not None
        files.write()
        store.reload_if_changed()
        assert store.problem is None
        assert store.current == before or fits(store.current)

    def test_a_rewrite_of_the_same_content_is_no_change(self, files):
        store = files.store()
        before = store.current
        files.write()
        assert store.reload_if_changed() is False
        assert store.current is before

    def test_a_wrong_mode_that_is_put_right(self, files):
        store = files.store()
        files.key.chmod(0o644)
        store.reload_if_changed()
        assert "chmod 600" in store.problem
        files.key.chmod(0o600)
        assert store.reload_if_changed() is False
        assert store.problem is None

    def test_a_problem_that_passes_without_a_change_of_files(self, files):
        published = True

        def x5u(chain, chain_pem):
            if not published:
                raise ConfigError("not published yet")
            return X5U

        store = KeyStore(files.key, files.chain, x5u=x5u)
        published = False
        files.carrier.renew()
        files.write()
        assert store.reload_if_changed() is False
        assert "not published yet" in store.problem
        published = True
        assert store.reload_if_changed() is True
        assert store.problem is None

    def test_links_that_are_turned(self, files, tmp_path):
        """As Kubernetes replaces a mounted secret: one link changes both files."""
        for version in ("one", "two"):
            folder = tmp_path / version
            folder.mkdir()
            pair = Files(folder, files.carrier)
            files.carrier.renew()
        link = tmp_path / "data"
        link.symlink_to("one")
        store = KeyStore(link / "key.pem", link / "chain.pem", x5u=X5U)
        before = store.current
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(link)
        assert store.reload_if_changed() is True
        assert store.current.chain_pem == pair.chain.read_bytes() != before.chain_pem
        assert fits(store.current)

    def test_not_one_failed_signature(self, files):
        """Every credential ever seen is a fitting pair, while files change under a reader."""
        store = files.store()
        done = threading.Event()
        seen: list[Credential] = []

        def sign():
            while not done.is_set():
                credential = store.current
                if not seen or seen[-1] is not credential:
                    seen.append(credential)
                assert credential.key.sign(b"x")

        thread = threading.Thread(target=sign)
        thread.start()
        try:
            for turn in range(20):
                files.carrier.renew()
                for write in (files.write_key, files.write_chain)[:: 1 if turn % 2 else -1]:
                    write()
                    store.reload_if_changed()
        finally:
            done.set()
            thread.join()
        assert all(fits(credential) for credential in seen)
        assert store.current.chain_pem == files.carrier.chain_pem
        assert store.problem is None

    def test_starting_without_a_usable_pair_is_refused(self, files):
        files.key.unlink()
        with pytest.raises(ConfigError):
            files.store()
