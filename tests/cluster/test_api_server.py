"""The API server itself: what every other test here takes for granted."""


def test_api_server_knows_hosted_control_planes_and_mutating_policies(api_server):
    with api_server.open_session() as session:
        for path in (
            "hypershift.openshift.io/v1beta1/hostedcontrolplanes",
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
        ):
            assert "items" in session.get(f"{api_server.url}/apis/{path}", timeout=5).json()
