/* Waiting for a queue. */
#include "device/device.h"

cl_int clf__wait_for_queue(cl_command_queue queue)
{
    cl_event last = NULL;
    cl_int code = clEnqueueMarkerWithWaitList(queue, 0, NULL, &last);

    if (code == CL_SUCCESS) {
        code = clWaitForEvents(1, &last);
        clReleaseEvent(last);
    }
    return code ? clFinish(queue) : CL_SUCCESS;
}
