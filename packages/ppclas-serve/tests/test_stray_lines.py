"""What C libraries write to file descriptor 2 does not fill the log."""


def test_some_lines_pass_and_pythons_own_all_do(python):
    said = python(
        "import os, sys\n"
        "from ppclas_data.decoding.stray_lines import few_stray_lines\n"
        "with few_stray_lines(most=5):\n"
        "    for number in range(500):\n"
        "        os.write(2, b'Corrupt JPEG data %d\\n' % number)\n"
        "        print('own', number, file=sys.stderr)\n"
        "os.write(2, b'after\\n')\n"
        "print('own again', file=sys.stderr)\n"
    ).splitlines()
    assert [line for line in said if "JPEG" in line] == [f"Corrupt JPEG data {n}" for n in range(5)]
    assert [line for line in said if "own " in line] == [
        *(f"own {number}" for number in range(500)), "own again"
    ]  # fmt: skip
    assert "after" in said


def test_how_many_were_left_out_is_said_when_the_time_is_over(python):
    said = python(
        "import os, time\n"
        "from ppclas_data.decoding.stray_lines import few_stray_lines\n"
        "with few_stray_lines(most=2, seconds=0.5):\n"
        "    os.write(2, b'one\\n' * 10)\n"
        "    time.sleep(1)\n"
        "    os.write(2, b'later\\n')\n"
    )
    assert said == "one\none\n(8 more lines like those before)\nlater\n"


def test_a_writer_never_waits_for_room_and_a_crash_says_where(python):
    said = python(
        "import os, sys\n"
        "from ppclas_data.decoding.stray_lines import few_stray_lines\n"
        "sys.setswitchinterval(100)\n"  # the thread that reads gets no turn
        "with few_stray_lines(most=1):\n"
        "    try:\n"
        "        while True: os.write(2, b'x' * 4000 + b'\\n')\n"
        "    except BlockingIOError:\n"
        "        print('full', file=sys.stderr)\n"
        "    os.abort()\n"
    )
    assert "full" in said
    assert "Fatal Python error: Aborted" in said


def test_lines_of_decoders_are_left_out_where_that_is_asked_for(python):
    said = python(
        "import os\n"
        "from ppclas_data.decoding.stray_lines import OF_DECODERS, few_stray_lines\n"
        "with few_stray_lines(drop=OF_DECODERS):\n"
        "    os.write(2, b'Corrupt JPEG data: 5 extraneous bytes before marker 0xdb\\n')\n"
        "    os.write(2, b'another library\\n')\n"
    ).splitlines()
    assert said == ["another library"]
