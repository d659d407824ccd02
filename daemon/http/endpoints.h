// Socket addresses as text. No thread affinity.
#pragma once

#include <sys/socket.h>

#include "daemon/http/application.h"

namespace green::http {

/// Of a connected socket; `peer` as accept4() or getpeername() gave it. What the kernel cannot say
/// (the socket is gone) stays empty.
Endpoints make_endpoints(int socket, const sockaddr_storage& peer, socklen_t peer_length);

}  // namespace green::http
