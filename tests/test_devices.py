"""What devices a training is spread over, without any training."""

import pytest

from hornbeam.devices import count, require_equal
from hornbeam.errors import ConfigError


def test_processes_with_unequal_numbers_of_devices_are_refused_with_the_number_that_all_have():
    require_equal([2, 2])
    with pytest.raises(ConfigError, match=r"Process 1 has 2 devices and process 0 has 4, .*2\."):
        require_equal([4, 2, 4])


def test_one_device_is_one():
    assert count(None) == 1
