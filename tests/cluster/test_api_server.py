"""The API server itself: what every other test here takes for granted."""


def test_api_server_knows_hosted_control_planes(api_server):
    path = f"{api_server.url}/apis/hypershift.openshift.io/v1beta1/hostedcontrolplanes"
    with api_server.open_session() as session:
        assert "items" in session.get(path, timeout=5).json()
