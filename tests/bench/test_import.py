"""What is imported when."""

import subprocess
import sys


def test_no_partner_is_imported_before_it_takes_part():
    code = "import sys, capsnp.bench; assert 'torch' not in sys.modules; import capsnp.bench.plot"
    subprocess.run([sys.executable, "-c", code], check=True)
