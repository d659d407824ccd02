#include "python/fork_hazards.h"

#include <gmock/gmock.h>

#include "tests/python/python_fixture.h"

namespace green::python {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(ForkHazards, AreNoneInAnInterpreterThatDidNothing) {
  EXPECT_THAT(find_fork_hazards(open_sockets()), IsEmpty());
}

TEST(ForkHazards, NameAThreadUntilItIsJoined) {
  auto names = run_python(R"(
import threading
stop = threading.Event()
thread = threading.Thread(target=stop.wait, name='poller')
thread.start()
)");
  EXPECT_THAT(find_fork_hazards(open_sockets()), ElementsAre("thread 'poller'"));
  names["stop"].attr("set")();
  {
    const pybind11::gil_scoped_release release;
    const pybind11::gil_scoped_acquire acquire;
  }
  names["thread"].attr("join")();
  EXPECT_THAT(find_fork_hazards(open_sockets()), IsEmpty());
}

TEST(ForkHazards, NameAConnectionThatIsNewButNoListenerAndNoDatagramSocket) {
  const auto known = open_sockets();
  auto names = run_python(R"(
import socket
listener = socket.create_server(('127.0.0.1', 0))
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.connect(listener.getsockname())
)");
  EXPECT_THAT(find_fork_hazards(known), IsEmpty());
  auto connected = run_python("import socket\n");
  connected["client"] =
      connected["socket"].attr("create_connection")(names["listener"].attr("getsockname")());
  const auto port = names["listener"].attr("getsockname")().cast<pybind11::tuple>()[1].cast<int>();
  EXPECT_THAT(find_fork_hazards(known),
              ElementsAre(StartsWith("socket 127.0.0.1:" + std::to_string(port) + " (fd ")));
  EXPECT_THAT(find_fork_hazards(open_sockets()), IsEmpty())
      << "what was there before is not the import's";
}

TEST(ForkHazards, NameThePathOfAUnixConnectionAndAnUnnamedPair) {
  const auto known = open_sockets();
  auto names = run_python("import socket\npath = '" + site_folder().string() + "/db.sock'\n" + R"(
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(path)
)");
  EXPECT_THAT(find_fork_hazards(known),
              ElementsAre(StartsWith("socket " + site_folder().string() + "/db.sock (fd ")));
  names["client"].attr("close")();
  const auto pair = run_python("import socket\na, b = socket.socketpair()\n");
  EXPECT_THAT(find_fork_hazards(known), ElementsAre(StartsWith("socket of an unnamed pair"),
                                                    StartsWith("socket of an unnamed pair")));
}

}  // namespace
}  // namespace green::python
