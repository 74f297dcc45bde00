// The C++ SDK of Stepback in one include: Server -> Model -> Worker.
#pragma once

#include "stepback/errors.h"
#include "stepback/server.h"
